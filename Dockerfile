# The sources enter; an image that runs `chronicle serve` leaves, without compilers, caches or development tools.
FROM node:24.20.0-trixie-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# Optional dependencies are the embedded PostgreSQL of `demo` and `dev`; Node is the image's own, so no
# install script has anything to do.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM node:24.20.0-trixie-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json ./
COPY migrations ./migrations
COPY src ./src
# Node strips the types itself; nothing is compiled, and nothing is written below /app.
USER node
ENTRYPOINT ["node", "src/cli/main.ts"]
CMD ["serve"]
