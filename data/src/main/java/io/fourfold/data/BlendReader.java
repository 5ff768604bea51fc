package io.fourfold.data;

import io.fourfold.data.order.Blend;
import java.util.Arrays;
import java.util.List;

/** Reads samples from several data sets in the order a {@link Blend} decides. Safe for concurrent use. */
final class BlendReader implements BatchReader {
    private static final int NO_LABEL = -1;

    private final List<DataSet> dataSets;
    private final Blend blend;
    private final ReaderOptions options;
    private final long samplesPerEpoch;

    BlendReader(List<DataSet> dataSets, Blend blend, ReaderOptions options) {
        this.dataSets = List.copyOf(dataSets);
        this.blend = blend;
        this.options = options;
        this.samplesPerEpoch = dataSets.stream().mapToLong(DataSet::samples).sum();
    }

    @Override
    public int sequenceLength() {
        return options.sequenceLength();
    }

    @Override
    public long samplesPerEpoch() {
        return samplesPerEpoch;
    }

    @Override
    public Batch read(long first, int count, int rowIdBase) {
        if (first < 0 || count < 0) {
            throw new IllegalArgumentException("Cannot read " + count + " samples from " + first);
        }
        int length = options.sequenceLength();
        int size = Math.multiplyExact(count, length);
        Batch batch = new Batch(
                count, length, new int[size], new int[size], new int[size], new int[size], rowIds(size, rowIdBase));
        int[] window = new int[length + 1];
        for (int sample = 0; sample < count; sample++) {
            readSample(first + sample, batch, sample * length, window);
        }
        return batch;
    }

    private static int[] rowIds(int size, int base) {
        int[] ids = new int[size];
        for (int i = 0; i < size; i++) {
            ids[i] = base + i;
        }
        return ids;
    }

    private void readSample(long index, Batch batch, int at, int[] window) {
        int length = options.sequenceLength();
        DataSet dataSet = dataSets.get(blend.source(index));
        long start = dataSet.sampleAt(blend.rank(index)) * length;
        // Positions count from the document's start within the sample; earlier tokens of the document are not there.
        int[] begin = new int[1];
        dataSet.tokens().read(start, length + 1, window, 0, position -> {
            if (position == 0) {
                return;
            }
            fillDocument(batch, at, begin[0], position);
            if (options.maskDocumentStart()) {
                batch.labels()[at + position - 1] = NO_LABEL;
            }
            begin[0] = position;
        });
        fillDocument(batch, at, begin[0], length);
        System.arraycopy(window, 0, batch.tokens(), at, length);
        for (int t = 0; t < length; t++) {
            int[] labels = batch.labels();
            labels[at + t] = labels[at + t] == NO_LABEL ? NO_LABEL : window[t + 1];
        }
    }

    /** Fills starts and positions of one document's part {@code [from, to)} of the sample. */
    private void fillDocument(Batch batch, int at, int from, int to) {
        if (options.documentMask()) {
            Arrays.fill(batch.documentStart(), at + from, at + to, from);
        }
        int origin = options.resetPositions() ? from : 0;
        for (int t = from; t < to; t++) {
            batch.positions()[at + t] = t - origin;
        }
    }

    @Override
    public void close() {
        // Mappings are released by the garbage collector: other readers of this machine may share the pages.
    }
}
