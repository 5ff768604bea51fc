package io.fourfold.report;

import io.fourfold.metrics.RunHistory;
import io.fourfold.metrics.StepMetrics;
import java.util.Arrays;
import java.util.List;
import java.util.function.ToDoubleFunction;

/**
 * Points of a curve, ascending in x. Points with a y that is not finite are dropped when a curve is made from metrics.
 *
 * @param x abscissas
 * @param y as many ordinates
 */
record Curve(double[] x, double[] y) {
    /** Curves shorter than this are too short to smooth. */
    private static final int SHORTEST_TO_SMOOTH = 12;

    Curve {
        if (x.length != y.length) {
            throw new IllegalArgumentException(x.length + " abscissas and " + y.length + " ordinates");
        }
    }

    static Curve of(List<StepMetrics> steps, ToDoubleFunction<StepMetrics> x, ToDoubleFunction<StepMetrics> y) {
        List<StepMetrics> finite = steps.stream()
                .filter(step -> Double.isFinite(y.applyAsDouble(step)))
                .toList();
        return new Curve(
                finite.stream().mapToDouble(x).toArray(),
                finite.stream().mapToDouble(y).toArray());
    }

    /** Training loss (nats per token) by tokens consumed. */
    static Curve loss(RunHistory run) {
        return of(run.steps(), StepMetrics::tokens, StepMetrics::loss);
    }

    /** Validation loss (nats per token) by tokens consumed; validations whose step has no line are left out. */
    static Curve validation(RunHistory run) {
        double[][] points = run.evaluations().stream()
                .filter(evaluation -> Double.isFinite(evaluation.loss())
                        && run.tokensAt(evaluation.step()).isPresent())
                .map(evaluation -> new double[] {run.tokensAt(evaluation.step()).getAsLong(), evaluation.loss()})
                .toArray(double[][]::new);
        double[] x = new double[points.length];
        double[] y = new double[points.length];
        for (int i = 0; i < points.length; i++) {
            x[i] = points[i][0];
            y[i] = points[i][1];
        }
        return new Curve(x, y);
    }

    int size() {
        return x.length;
    }

    boolean isEmpty() {
        return x.length == 0;
    }

    boolean worthSmoothing() {
        return size() >= SHORTEST_TO_SMOOTH;
    }

    /** Points on each side that {@link #smoothed} averages, from the number of points: 3% of them, 2 to 150. */
    static int reach(int points) {
        return Math.max(2, Math.min(150, points * 3 / 100));
    }

    /**
     * Mean of the neighbours up to {@code reach} points away, with weights that fall linearly. Near the start, where losses
     * fall steeply, the reach grows with the position (a quarter of it), so that the mean does not lag behind the curve.
     */
    Curve smoothed(int reach) {
        double[] mean = new double[y.length];
        for (int i = 0; i < y.length; i++) {
            int side = Math.min(reach, i / 4);
            double sum = 0;
            double weights = 0;
            for (int j = i - side; j <= Math.min(i + side, y.length - 1); j++) {
                double weight = side + 1 - Math.abs(j - i);
                sum += weight * y[j];
                weights += weight;
            }
            mean[i] = sum / weights;
        }
        return new Curve(x, mean);
    }

    /** {@link #smoothed(int)} with the reach that suits the length. */
    Curve smoothed() {
        return smoothed(reach(size()));
    }

    /** At most {@code points} points, evenly spaced, with the first and the last: for curves without noise. */
    Curve thinned(int points) {
        if (size() <= points) {
            return this;
        }
        double[] thinX = new double[points];
        double[] thinY = new double[points];
        for (int i = 0; i < points; i++) {
            int source = (int) Math.round((double) i * (size() - 1) / (points - 1));
            thinX[i] = x[source];
            thinY[i] = y[source];
        }
        return new Curve(thinX, thinY);
    }

    /** About {@code points} points that keep every spike: the smallest and the largest of each stretch. */
    Curve envelope(int points) {
        int stretches = points / 2;
        if (size() <= points || stretches == 0) {
            return this;
        }
        double[] keptX = new double[2 * stretches];
        double[] keptY = new double[2 * stretches];
        for (int stretch = 0; stretch < stretches; stretch++) {
            int from = (int) ((long) stretch * size() / stretches);
            int to = (int) ((long) (stretch + 1) * size() / stretches);
            int smallest = from;
            int largest = from;
            for (int i = from; i < to; i++) {
                smallest = y[i] < y[smallest] ? i : smallest;
                largest = y[i] > y[largest] ? i : largest;
            }
            int first = Math.min(smallest, largest);
            int second = Math.max(smallest, largest);
            keptX[2 * stretch] = x[first];
            keptY[2 * stretch] = y[first];
            keptX[2 * stretch + 1] = x[second];
            keptY[2 * stretch + 1] = y[second];
        }
        return new Curve(keptX, keptY);
    }

    /** The part up to {@code lastX}. */
    Curve until(double lastX) {
        int end = size();
        while (end > 0 && x[end - 1] > lastX) {
            end--;
        }
        return new Curve(Arrays.copyOf(x, end), Arrays.copyOf(y, end));
    }

    /** Linear interpolation; NaN outside the curve. */
    double at(double position) {
        int index = Arrays.binarySearch(x, position);
        if (index >= 0) {
            return y[index];
        }
        int right = -index - 1;
        if (right == 0 || right == size()) {
            return Double.NaN;
        }
        double share = (position - x[right - 1]) / (x[right] - x[right - 1]);
        return y[right - 1] + share * (y[right] - y[right - 1]);
    }

    /** Mean of the last 5% of the points, at most 100 of them: a final value that one noisy step does not decide. */
    double finalMean() {
        if (isEmpty()) {
            return Double.NaN;
        }
        int points = Math.min(100, (size() + 19) / 20);
        double sum = 0;
        for (int i = size() - points; i < size(); i++) {
            sum += y[i];
        }
        return sum / points;
    }

    double smallest() {
        return Arrays.stream(y).min().orElse(Double.NaN);
    }

    double largest() {
        return Arrays.stream(y).max().orElse(Double.NaN);
    }
}
