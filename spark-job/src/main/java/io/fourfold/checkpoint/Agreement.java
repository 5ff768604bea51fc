package io.fourfold.checkpoint;

import org.jspecify.annotations.Nullable;

/** Small decisions that every rank must take alike. All ranks call the same methods in the same order. */
public interface Agreement {
    int rank();

    int size();

    /** The message of the lowest rank that has one, the same on every rank; null when all are fine. */
    @Nullable
    String firstFailure(@Nullable String failure);

    /** Rank 0's text on every rank. */
    String fromFirstRank(String text);

    /** Agreement of a single rank with itself. */
    static Agreement alone() {
        return new Agreement() {
            @Override
            public int rank() {
                return 0;
            }

            @Override
            public int size() {
                return 1;
            }

            @Override
            public @Nullable String firstFailure(@Nullable String failure) {
                return failure;
            }

            @Override
            public String fromFirstRank(String text) {
                return text;
            }
        };
    }
}
