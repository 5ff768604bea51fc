package io.fourfold.bench;

import java.util.List;

/**
 * A measured training step.
 *
 * @param shape S, M, Q or T
 * @param recipe of the linear layers
 * @param microBatches accumulated in a step
 * @param tokens of one step
 * @param milliseconds median over the steps
 * @param fastest and {@code slowest} of the steps, milliseconds
 * @param tokensPerSecond from the median
 * @param teraflops model TFLOP/s, causal count
 * @param utilization of 989 TFLOP/s, what an H100 SXM does in dense BF16; NaN on a CPU
 * @param firstLoss mean loss a token of the first step, nats; random tokens start at ln(vocabulary)
 * @param lastLoss of the last measured step; lower, for the batches repeat
 * @param fullestRank tokens of the fullest rank of expert parallelism over their mean, in the last step; 1 without it
 * @param hostMilliseconds median time the host was busy queueing a step's micro-batches
 * @param idleShare part of a traced step in which the device had nothing to do
 * @param peakBytes most device memory in use, all regions
 * @param plannedBytes what {@code fourfold plan} says of it
 * @param steady no device memory was taken after the warm-up
 * @param memory by region
 * @param work of one traced step
 * @param device hardware and driver
 */
public record StepResult(
        String shape,
        String model,
        String recipe,
        int microBatches,
        long tokens,
        double milliseconds,
        double fastest,
        double slowest,
        double tokensPerSecond,
        double teraflops,
        double utilization,
        double firstLoss,
        double lastLoss,
        double fullestRank,
        double hostMilliseconds,
        double idleShare,
        long peakBytes,
        long plannedBytes,
        boolean steady,
        List<BenchDevice.Memory> memory,
        List<BenchDevice.TracedWork> work,
        String device) {
    public StepResult {
        memory = List.copyOf(memory);
        work = List.copyOf(work);
    }
}
