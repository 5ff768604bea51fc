package io.fourfold.data.order;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.List;

/**
 * Decides which data set each sample of a blend comes from. Of the first k samples, data set i gives more than
 * {@code k * w_i - 1} and less than {@code k * w_i + 1}, for every k: the proportionate fairness of Baruah, Cohen,
 * Plaxton and Varvel (Algorithmica 1996), reached by earliest deadline first. Sample j of data set i (counted from 1)
 * may come once {@code k * w_i > j - 1} and must have come when {@code k * w_i >= j}.
 *
 * <p>Weights are whole shares of a period, after which the schedule repeats, so any position is found in constant time.
 * The table takes five bytes per sample of the period.
 */
public final class Blend {
    /** Longest period. Weights with a larger common denominator are rounded to it. */
    public static final int MAX_PERIOD = 1 << 20;

    private static final int MAX_SOURCES = 127;

    private final long[] shares;
    private final int period;
    private final byte[] sourceAt;
    private final int[] rankAt;

    private Blend(long[] shares) {
        this.shares = shares;
        long sum = 0;
        for (long share : shares) {
            sum += share;
        }
        this.period = Math.toIntExact(sum);
        this.sourceAt = new byte[period];
        this.rankAt = new int[period];
        schedule();
    }

    /**
     * A blend of relative weights. Weights are taken as the decimal numbers they print as: 0.3 and 0.7 are exactly 3 to 7.
     *
     * @param weights at least one, each zero or more, not all zero
     */
    public static Blend of(List<Double> weights) {
        int scale = 0;
        for (double weight : weights) {
            if (!(weight >= 0) || Double.isInfinite(weight)) {
                throw new IllegalArgumentException("Blend weights are finite and not negative: " + weights);
            }
            scale = Math.max(
                    scale, BigDecimal.valueOf(weight).stripTrailingZeros().scale());
        }
        BigInteger[] whole = new BigInteger[weights.size()];
        for (int i = 0; i < whole.length; i++) {
            whole[i] = BigDecimal.valueOf(weights.get(i)).movePointRight(scale).toBigIntegerExact();
        }
        return ofShares(whole);
    }

    /** A blend by size: each data set's weight is its number of samples. */
    public static Blend bySize(long[] samples) {
        BigInteger[] whole = new BigInteger[samples.length];
        for (int i = 0; i < whole.length; i++) {
            whole[i] = BigInteger.valueOf(samples[i]);
        }
        return ofShares(whole);
    }

    private static Blend ofShares(BigInteger[] shares) {
        if (shares.length < 1 || shares.length > MAX_SOURCES) {
            throw new IllegalArgumentException("A blend has 1 to " + MAX_SOURCES + " data sets, not " + shares.length);
        }
        BigInteger divisor = BigInteger.ZERO;
        BigInteger sum = BigInteger.ZERO;
        for (BigInteger share : shares) {
            divisor = divisor.gcd(share);
            sum = sum.add(share);
        }
        if (sum.signum() <= 0) {
            throw new IllegalArgumentException("At least one blend weight must be above zero");
        }
        if (sum.divide(divisor).compareTo(BigInteger.valueOf(MAX_PERIOD)) > 0) {
            return new Blend(round(shares, sum));
        }
        long[] reduced = new long[shares.length];
        for (int i = 0; i < reduced.length; i++) {
            reduced[i] = shares[i].divide(divisor).longValueExact();
        }
        return new Blend(reduced);
    }

    /** Largest remainders to {@link #MAX_PERIOD}; nothing above zero is rounded to zero. */
    private static long[] round(BigInteger[] shares, BigInteger sum) {
        long[] rounded = new long[shares.length];
        BigInteger[] remainders = new BigInteger[shares.length];
        long total = 0;
        for (int i = 0; i < rounded.length; i++) {
            BigInteger[] parts =
                    shares[i].multiply(BigInteger.valueOf(MAX_PERIOD)).divideAndRemainder(sum);
            boolean tiny = parts[0].signum() == 0 && shares[i].signum() > 0;
            rounded[i] = tiny ? 1 : parts[0].longValueExact();
            remainders[i] = tiny ? BigInteger.ZERO : parts[1];
            total += rounded[i];
        }
        for (; total < MAX_PERIOD; total++) {
            int largest = 0;
            for (int i = 1; i < remainders.length; i++) {
                largest = remainders[i].compareTo(remainders[largest]) > 0 ? i : largest;
            }
            rounded[largest]++;
            remainders[largest] = BigInteger.valueOf(-1);
        }
        return rounded;
    }

    private void schedule() {
        int[] taken = new int[shares.length];
        for (int k = 1; k <= period; k++) {
            int chosen = -1;
            long earliest = Long.MAX_VALUE;
            for (int i = 0; i < shares.length; i++) {
                boolean released = shares[i] * k > (long) taken[i] * period;
                if (released) {
                    long deadline = ((taken[i] + 1L) * period + shares[i] - 1) / shares[i];
                    if (deadline < earliest) {
                        earliest = deadline;
                        chosen = i;
                    }
                }
            }
            sourceAt[k - 1] = (byte) chosen;
            rankAt[k - 1] = taken[chosen]++;
        }
    }

    /** Samples after which the pattern repeats. */
    public int period() {
        return period;
    }

    /** The exact weight of data set {@code source}, as used. */
    public double weight(int source) {
        return (double) shares[source] / period;
    }

    /** Data set of sample {@code index}. */
    public int source(long index) {
        return sourceAt[(int) (index % period)];
    }

    /** How many of the samples before {@code index} came from the data set of sample {@code index}. */
    public long rank(long index) {
        int position = (int) (index % period);
        return index / period * shares[sourceAt[position]] + rankAt[position];
    }
}
