package io.fourfold.train;

/**
 * Where a run is.
 *
 * @param step optimizer steps done
 * @param samples samples consumed
 * @param tokens tokens consumed
 */
record Progress(int step, long samples, long tokens) {
    static final Progress START = new Progress(0, 0, 0);

    Progress plus(GlobalBatch batch) {
        return new Progress(step + 1, samples + batch.samples(), tokens + batch.tokens());
    }
}
