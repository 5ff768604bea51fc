package io.fourfold.model;

/** How far a tensor is from another one. */
final class RelativeError {
    private RelativeError() {}

    /** Norm of the difference over the norm of the expected gradient. */
    static double of(float[] expected, float[] actual) {
        double difference = 0;
        double norm = 0;
        for (int i = 0; i < expected.length; i++) {
            difference += Math.pow((double) actual[i] - expected[i], 2);
            norm += Math.pow(expected[i], 2);
        }
        // An expert without tokens has no gradient at all.
        return norm == 0 ? difference : Math.sqrt(difference / norm);
    }
}
