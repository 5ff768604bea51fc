package io.fourfold.train;

/**
 * How the writing of a checkpoint stands, summed over ranks with each step's scalars: so all ranks learn in the same step
 * that all are done, and no thread but the training one communicates.
 *
 * @param ended ranks whose writing has ended, well or not
 * @param failed ranks whose writing has failed
 */
record SaveVotes(double ended, double failed) {
    static final SaveVotes NONE = new SaveVotes(0, 0);
}
