package io.fourfold.data;

import io.fourfold.data.order.Permutation;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.TokenStream;
import org.jspecify.annotations.Nullable;

/**
 * One data set as an endless run of samples: pass after pass over tokens {@code [k * S, k * S + S]}, each pass in its own
 * order. The tokens after the last whole sample are left out.
 */
final class DataSet {
    private final Manifest manifest;
    private final TokenStream tokens;
    private final long samples;
    private final long seed;
    private final boolean shuffle;
    /** The permutation used last: successive samples are nearly always of one epoch. */
    private volatile @Nullable Order order;

    private record Order(long epoch, Permutation permutation) {}

    DataSet(Manifest manifest, TokenStream tokens, int sequenceLength, long seed, boolean shuffle) {
        this.manifest = manifest;
        this.tokens = tokens;
        this.samples = Math.max(0, tokens.tokens() - 1) / sequenceLength;
        this.seed = seed;
        this.shuffle = shuffle;
    }

    String name() {
        return manifest.dataSet();
    }

    Manifest manifest() {
        return manifest;
    }

    TokenStream tokens() {
        return tokens;
    }

    /** Samples in one pass. */
    long samples() {
        return samples;
    }

    /** Which sample of the stored stream comes at {@code index} of the endless run. */
    long sampleAt(long index) {
        if (!shuffle) {
            return index % samples;
        }
        long epoch = index / samples;
        Order current = order;
        if (current == null || current.epoch() != epoch) {
            // The stream number depends on the name alone, so adding a data set does not reorder the others.
            current = new Order(epoch, new Permutation(samples, seed, name().hashCode(), epoch));
            order = current;
        }
        return current.permutation().apply(index % samples);
    }
}
