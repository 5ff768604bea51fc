package io.fourfold.kernels.comm;

/**
 * A collective under way. What it reads must stay as it is, and what it writes may not be read, until {@link #await}; the
 * scopes of both stay open as long.
 */
@FunctionalInterface
public interface Pending {
    /** Nothing is under way any more. */
    Pending DONE = () -> {};

    /** What is awaited by running it the first time. */
    static Pending once(Runnable end) {
        boolean[] awaited = new boolean[1];
        return () -> {
            if (!awaited[0]) {
                awaited[0] = true;
                end.run();
            }
        };
    }

    /** Returns when work queued by the caller from now on sees the result; on a GPU the host does not wait. */
    void await();
}
