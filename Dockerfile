# An image that runs `chronicle serve`, without compilers, caches or development tools.
FROM node:24.20.0-trixie-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# Optional dependencies are the embedded PostgreSQL of `demo` and `dev`; Node is the image's own, so no
# install script has anything to do.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

# The console and the command line are bundled with development tools, which stay behind.
FROM node:24.20.0-trixie-slim AS bundles
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY scripts ./scripts
COPY src ./src
COPY tsconfig.json ./
RUN node scripts/bundleConsole.ts && node scripts/front.ts src

FROM node:24.20.0-trixie-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json ./
COPY migrations ./migrations
COPY src ./src
COPY --from=bundles /app/dist/console ./dist/console
COPY --from=bundles /app/dist/front ./dist/front
# Nothing is written below /app. V8's compiled code is kept for the next start of the read side's thread, where the container has a
# /tmp to write to.
ENV NODE_COMPILE_CACHE=/tmp/chronicle-code
USER node
ENTRYPOINT ["node", "src/cli/main.ts"]
CMD ["serve"]
