package io.fourfold.kernels.comm;

/**
 * A collective under way. What it reads must stay as it is, and what it writes may not be read, until {@link #await}; the
 * scopes of both stay open as long.
 */
@FunctionalInterface
public interface Pending {
    /** Nothing is under way any more. */
    Pending DONE = () -> {};

    /** Returns when work queued by the caller from now on sees the result; on a GPU the host does not wait. */
    void await();
}
