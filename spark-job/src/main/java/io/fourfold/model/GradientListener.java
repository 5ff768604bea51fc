package io.fourfold.model;

/** Hears during backward which gradients are complete on this rank, so that they can be summed over ranks meanwhile. */
@FunctionalInterface
public interface GradientListener {
    /** Nothing will be added to the parameter's gradient in this step. On every rank of a stage the order is the same. */
    void complete(Parameter parameter);

    /** Whether it makes use of hearing during backward, rather than of all parameters after it. */
    default boolean listensDuringBackward() {
        return true;
    }
}
