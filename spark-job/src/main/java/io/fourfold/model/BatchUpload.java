package io.fourfold.model;

import io.fourfold.data.Batch;
import io.fourfold.kernels.Backend;
import io.fourfold.kernels.op.TokenChunks;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;
import io.fourfold.kernels.tensor.Tensor;
import io.fourfold.kernels.tensor.TensorScope;
import io.fourfold.moe.LocalTokens;
import io.fourfold.parallel.TokenPlacement;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Brings this rank's part of a micro-batch to the device. Every rank reads whole micro-batches; what it holds of them is
 * decided here.
 *
 * @param vocabulary entries of the whole vocabulary
 */
record BatchUpload(Backend backend, SequenceParallel ranks, int vocabulary) {
    /** Parts of one tensor begin at multiples of this many integers, as aligned as tensors of their own. */
    private static final int ALIGNMENT = 128;

    /**
     * @throws IllegalArgumentException when the tokens do not split over the ranks
     */
    DeviceBatch upload(Batch batch, TensorScope scope) {
        return ranks.holders().size() == 1 ? whole(batch, scope) : part(batch, scope);
    }

    private DeviceBatch whole(Batch batch, TensorScope scope) {
        List<Tensor> parts = uploadTogether(
                List.of(batch.tokens(), batch.labels(), batch.documentStart(), batch.positions(), batch.rowIds()),
                scope);
        Tensor rowIds = parts.get(4);
        int length = batch.sequenceLength();
        return new DeviceBatch(
                batch.samples(),
                length,
                new DeviceBatch.Embedded(parts.get(0), null, null),
                parts.get(1),
                parts.get(2),
                parts.get(3),
                rowIds,
                rowIds,
                TokenChunks.whole(length),
                null,
                new LocalTokens(batch.samples(), length, length, 0, batch.tokenCount(), ranks.holders(), null, null));
    }

    private DeviceBatch part(Batch batch, TensorScope scope) {
        TokenPlacement placement = ranks.placement();
        int samples = batch.samples();
        int length = batch.sequenceLength();
        placement.check(samples, length);
        DeviceBatch.ContextOrder order = contextOrder(samples, length, scope);
        int[] context = placement.contextRows(samples, length);
        int[] rows = placement.rows(samples, length);
        return new DeviceBatch(
                samples,
                length,
                embedded(select(batch.tokens(), context), scope),
                upload(select(batch.labels(), context), scope),
                upload(batch.documentStart(), scope),
                upload(select(batch.positions(), context), scope),
                upload(select(batch.rowIds(), context), scope),
                upload(select(batch.rowIds(), rows), scope),
                new TokenChunks(placement.chunkLength(length), placement.chunkStarts(length)),
                order,
                routed(samples, length, rows, order, scope));
    }

    /** The tokens that this rank's part of the vocabulary has. */
    private DeviceBatch.Embedded embedded(int[] tokens, TensorScope scope) {
        if (!ranks.splitsLayers()) {
            return new DeviceBatch.Embedded(upload(tokens, scope), null, null);
        }
        int part = vocabulary / ranks.tensor().size();
        int first = ranks.tensor().rank() * part;
        int[] rowOfOwn = IntStream.range(0, tokens.length)
                .filter(t -> tokens[t] >= first && tokens[t] < first + part)
                .toArray();
        int[] ownOfRow = new int[tokens.length];
        Arrays.fill(ownOfRow, -1);
        for (int i = 0; i < rowOfOwn.length; i++) {
            ownOfRow[rowOfOwn[i]] = i;
        }
        int[] own = Arrays.stream(rowOfOwn).map(t -> tokens[t] - first).toArray();
        return new DeviceBatch.Embedded(upload(own, scope), upload(rowOfOwn, scope), upload(ownOfRow, scope));
    }

    private DeviceBatch.@Nullable ContextOrder contextOrder(int samples, int length, TensorScope scope) {
        if (!ranks.splitsSequences()) {
            return null;
        }
        int[] gathered = ranks.placement().gatheredRows(samples, length);
        return new DeviceBatch.ContextOrder(upload(gathered, scope), upload(inverse(gathered), scope));
    }

    private LocalTokens routed(
            int samples, int length, int[] rows, DeviceBatch.@Nullable ContextOrder order, TensorScope scope) {
        return new LocalTokens(
                samples,
                length,
                length / ranks.placement().contextRanks(),
                ranks.placement().tensorRank() * rows.length,
                rows.length,
                ranks.holders(),
                order == null ? null : order.sequences(),
                upload(rows, scope));
    }

    private static int[] select(int[] values, int[] rows) {
        return Arrays.stream(rows).map(row -> values[row]).toArray();
    }

    private static int[] inverse(int[] permutation) {
        int[] inverse = new int[permutation.length];
        for (int i = 0; i < permutation.length; i++) {
            inverse[permutation[i]] = i;
        }
        return inverse;
    }

    /** One copy for all: a small batch is gone sooner than five copies are queued. */
    private List<Tensor> uploadTogether(List<int[]> parts, TensorScope scope) {
        int[] starts = new int[parts.size() + 1];
        for (int i = 0; i < parts.size(); i++) {
            int length = parts.get(i).length;
            starts[i + 1] = starts[i] + (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        }
        int[] all = new int[starts[parts.size()]];
        for (int i = 0; i < parts.size(); i++) {
            System.arraycopy(parts.get(i), 0, all, starts[i], parts.get(i).length);
        }
        Tensor tensor = upload(all, scope);
        return IntStream.range(0, parts.size())
                .mapToObj(i -> tensor.view(starts[i], Shape.of(parts.get(i).length)))
                .toList();
    }

    private Tensor upload(int[] values, TensorScope scope) {
        Tensor tensor = scope.allocate(DType.INT32, values.length);
        backend.upload(values, tensor);
        return tensor;
    }
}
