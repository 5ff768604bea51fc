package io.fourfold.checkpoint;

/**
 * Which checkpoints stay.
 *
 * @param keepLast newest ones, at least 1
 * @param everySteps checkpoints of steps divisible by this stay for ever; 0 = none
 */
public record Retention(int keepLast, int everySteps) {
    public Retention {
        if (keepLast < 1 || everySteps < 0) {
            throw new IllegalArgumentException("keepLast " + keepLast + ", everySteps " + everySteps);
        }
    }

    public static Retention last(int keepLast) {
        return new Retention(keepLast, 0);
    }

    /** Step 0 is an imported model, whose origin is elsewhere. */
    boolean forEver(int step) {
        return everySteps > 0 && step > 0 && step % everySteps == 0;
    }
}
