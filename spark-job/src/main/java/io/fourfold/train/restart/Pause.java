package io.fourfold.train.restart;

import java.time.Duration;

/** The clock of {@link RestartLoop}. */
public interface Pause {
    /** Nanoseconds from some fixed moment. */
    long nanoTime();

    /** Lets this long go by. */
    void sleep(Duration duration) throws InterruptedException;

    /** The machine's own. */
    static Pause system() {
        return new Pause() {
            @Override
            public long nanoTime() {
                return System.nanoTime();
            }

            @Override
            public void sleep(Duration duration) throws InterruptedException {
                Thread.sleep(duration.toMillis());
            }
        };
    }
}
