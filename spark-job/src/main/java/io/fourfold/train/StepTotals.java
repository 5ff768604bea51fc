package io.fourfold.train;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.model.MicroBatchResult;
import io.fourfold.parallel.FixedOrderSums;
import java.util.List;

/**
 * Scalars of a step summed over micro-batches and ranks.
 *
 * @param lossSum token losses, nats
 * @param auxLoss load-balancing losses as added to the objective
 * @param zLoss router z-losses likewise
 * @param dropped slots dropped by the capacity limit
 * @param slots slots routed
 * @param stopVotes ranks that saw a request to stop
 * @param save how the ranks' writing of the checkpoint in flight stands
 */
record StepTotals(
        double lossSum, double auxLoss, double zLoss, double dropped, double slots, double stopVotes, SaveVotes save) {
    /** This rank's sums, over its micro-batches in order. */
    static StepTotals of(List<MicroBatchResult> results, boolean stop, SaveVotes save) {
        double loss = 0;
        double aux = 0;
        double z = 0;
        double dropped = 0;
        double slots = 0;
        for (MicroBatchResult result : results) {
            loss += result.lossSum();
            aux += result.auxLoss();
            z += result.zLoss();
            dropped += result.droppedSlots();
            slots += result.slots();
        }
        return new StepTotals(loss, aux, z, dropped, slots, stop ? 1 : 0, save);
    }

    /** Sums over ranks (collective): each reports the tokens that it alone holds. */
    StepTotals reduce(Backend backend, Communicator world) {
        double[] sums = FixedOrderSums.sum(
                backend, world, lossSum, auxLoss, zLoss, dropped, slots, stopVotes, save.ended(), save.failed());
        return new StepTotals(sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], new SaveVotes(sums[6], sums[7]));
    }

    boolean isFinite() {
        return Double.isFinite(lossSum) && Double.isFinite(auxLoss) && Double.isFinite(zLoss);
    }

    double dropRate() {
        return slots == 0 ? 0 : dropped / slots;
    }
}
