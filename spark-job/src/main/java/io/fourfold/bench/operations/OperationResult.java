package io.fourfold.bench.operations;

/**
 * A measured operation.
 *
 * @param operation its name
 * @param shape what it worked on
 * @param milliseconds median over the runs
 * @param fastest and {@code slowest} run, milliseconds
 * @param runs measured
 * @param teraflops TFLOP/s of the necessary products and sums; NaN where memory sets the bound
 * @param gigabytesPerSecond GB/s (10^9) of the bytes that must be read and written once; NaN where arithmetic sets the bound
 * @param error of the sampled results relative to the reference, L2 norm; NaN when one was not a number
 * @param bound largest error that passes; 0 asks for equal bits
 * @param passed error within the bound, and no output left unwritten
 * @param seed of the random data
 * @param device hardware and driver
 * @param version of the program
 */
public record OperationResult(
        String operation,
        String shape,
        double milliseconds,
        double fastest,
        double slowest,
        int runs,
        double teraflops,
        double gigabytesPerSecond,
        double error,
        double bound,
        boolean passed,
        long seed,
        String device,
        String version) {}
