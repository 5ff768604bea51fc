package io.fourfold.parallel;

import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Which tokens of a micro-batch a rank holds. Context parallelism cuts every sequence into 2 * CP chunks and gives rank i
 * the chunks i and 2 * CP - 1 - i, so that all ranks have equally many keys to look at under a causal mask. A context
 * rank's rows are ordered by sequence, then token. Tensor parallelism (with sequence parallelism) cuts these rows into TP
 * equal runs. A row's number is sample * sequenceLength + token.
 */
public record TokenPlacement(int tensorRank, int tensorRanks, int contextRank, int contextRanks) {
    /** One rank holds them all. */
    public static final TokenPlacement ALL = new TokenPlacement(0, 1, 0, 1);

    public static TokenPlacement of(ParallelMapping mapping, int rank) {
        return new TokenPlacement(
                mapping.coordinate(Axis.TP, rank),
                mapping.tensor(),
                mapping.coordinate(Axis.CP, rank),
                mapping.context());
    }

    /** Tokens of one chunk. */
    public int chunkLength(int sequenceLength) {
        return contextRanks == 1 ? sequenceLength : sequenceLength / (2 * contextRanks);
    }

    /** First token of each of this rank's chunks of a sequence. */
    public List<Integer> chunkStarts(int sequenceLength) {
        int length = chunkLength(sequenceLength);
        return contextRanks == 1
                ? List.of(0)
                : List.of(contextRank * length, (2 * contextRanks - 1 - contextRank) * length);
    }

    /** Of another context rank. */
    public TokenPlacement ofContextRank(int rank) {
        return new TokenPlacement(tensorRank, tensorRanks, rank, contextRanks);
    }

    /** Rows of this context rank, shared by its tensor parallel ranks. */
    public int contextTokens(int samples, int sequenceLength) {
        return samples * (sequenceLength / contextRanks);
    }

    /** Rows of this rank alone. */
    public int tokens(int samples, int sequenceLength) {
        return contextTokens(samples, sequenceLength) / tensorRanks;
    }

    /** Numbers of this context rank's rows, in their order here. */
    public int[] contextRows(int samples, int sequenceLength) {
        int length = chunkLength(sequenceLength);
        return IntStream.range(0, samples)
                .flatMap(sample -> chunkStarts(sequenceLength).stream()
                        .mapToInt(start -> sample * sequenceLength + start)
                        .flatMap(first -> IntStream.range(first, first + length)))
                .toArray();
    }

    /** Numbers of this rank's rows, in their order here. */
    public int[] rows(int samples, int sequenceLength) {
        int count = tokens(samples, sequenceLength);
        return Arrays.copyOfRange(contextRows(samples, sequenceLength), tensorRank * count, (tensorRank + 1) * count);
    }

    /** Numbers of all rows in the order in which a gather over the context (or over TP x CP) brings them. */
    public int[] gatheredRows(int samples, int sequenceLength) {
        return IntStream.range(0, contextRanks)
                .mapToObj(this::ofContextRank)
                .flatMapToInt(rank -> Arrays.stream(rank.contextRows(samples, sequenceLength)))
                .toArray();
    }

    /**
     * @throws IllegalArgumentException when the tokens do not split
     */
    public void check(int samples, int sequenceLength) {
        if (contextRanks > 1 && sequenceLength % (2 * contextRanks) != 0) {
            throw new IllegalArgumentException("sequences of " + sequenceLength + " tokens do not split into "
                    + 2 * contextRanks + " chunks (context_parallel_size " + contextRanks + "); use a multiple");
        }
        if (contextTokens(samples, sequenceLength) % tensorRanks != 0) {
            throw new IllegalArgumentException(samples + " sequences of " + sequenceLength
                    + " tokens do not split over " + contextRanks + " context and " + tensorRanks
                    + " tensor parallel ranks; use a sequence length that is a multiple of "
                    + (contextRanks == 1 ? 1 : 2 * contextRanks) * tensorRanks);
        }
    }
}
