/** How many connections may wait in the kernel for a server that is slow to take them. */

/**
 * Node asks for 511. Where more come at once, the kernel drops the handshakes and first bytes of the others, and sends them again after ever longer
 * pauses, of which the server's limits of time know nothing. The kernel has a limit of its own, mostly 4,096.
 */
export const listenBacklog = 4_096
