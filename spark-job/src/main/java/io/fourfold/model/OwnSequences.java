package io.fourfold.model;

import io.fourfold.kernels.comm.Communicator;
import org.jspecify.annotations.Nullable;

/**
 * The sequences {@code begin .. end} of a context rank's that lie as a whole in the rows of this tensor parallel rank. Attention
 * goes by sequences, so these need nothing of the other ranks.
 *
 * @param all sequences of the context rank
 * @param length tokens of each
 */
record OwnSequences(int begin, int end, int all, int length) {
    /** Something done with sequences {@code from .. to}. */
    interface Task {
        void run(int from, int to);
    }

    /** Null where ranks have parts of sequences. */
    static @Nullable OwnSequences of(DeviceBatch batch, Communicator tensor) {
        int ranks = tensor.size();
        if (ranks == 1 || batch.contextOrder() != null || batch.samples() % ranks != 0) {
            return null;
        }
        int own = batch.samples() / ranks;
        int begin = own * tensor.rank();
        return new OwnSequences(begin, begin + own, batch.samples(), batch.sequenceLength());
    }

    /** Parts them in two, of which the second may be empty. */
    int middle() {
        return begin + (end - begin + 1) / 2;
    }

    int firstRow() {
        return begin * length;
    }

    int endRow() {
        return end * length;
    }

    /** All others, in one or two stretches. */
    void forOthers(Task task) {
        if (begin > 0) {
            task.run(0, begin);
        }
        if (end < all) {
            task.run(end, all);
        }
    }
}
