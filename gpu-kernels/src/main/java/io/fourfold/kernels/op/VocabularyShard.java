package io.fourfold.kernels.op;

import io.fourfold.kernels.comm.Communicator;

/**
 * This rank's rows of a head that is split over ranks.
 *
 * @param first vocabulary index of the first row
 * @param total size of the whole vocabulary
 * @param group the ranks that together hold it, in order; all take part in every call with equal tokens and labels
 */
public record VocabularyShard(int first, int total, Communicator group) {}
