package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.cuda.CudaPair.Twin;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Tensor;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The Hopper head against FP64, with the CPU oracle held to the same bounds, on odd sizes with poisoned outputs.
 *
 * <p>Bounds, relative by norm. Losses: 3e-6, sums in another order. Gradients: 2^-8, the largest error of one rounding to
 * BF16; on average a rounding costs 1.6e-3. dhidden has two of them on both backends, of dz or e and of itself: 2.3e-3. dweight
 * has one on the CPU (dz) and two here (e, and the hidden state times its factor): 2.3e-3. The means of a few values vary.
 */
@Tag("gpu")
class CudaHeadParityTest {
    private static final double LOSS = 3e-6;
    private static final double GRADIENT = 1.0 / 256;
    private static final float FACTOR = 0.01f;

    @SuppressWarnings("NullAway.Init")
    private static CudaPair pair;

    @BeforeAll
    static void open() {
        pair = CudaPair.open(77);
    }

    @AfterAll
    @SuppressWarnings("ConstantConditions")
    static void close() {
        if (pair != null) {
            pair.close();
        }
    }

    /** One case: its inputs and what FP64 says. */
    private static final class Case {
        final int tokens;
        final int vocabulary;
        final int width;
        final Twin hidden;
        final Twin weight;
        final Twin labels;
        final float[] losses;
        final float[] dhidden;
        final float[] dweight;

        Case(int tokens, int vocabulary, int width, double deviation) {
            this.tokens = tokens;
            this.vocabulary = vocabulary;
            this.width = width;
            hidden = pair.gaussian(DType.BF16, 1, tokens, width);
            weight = pair.gaussian(DType.BF16, deviation, vocabulary, width);
            int[] label = pair.random.ints(tokens, -1, vocabulary).toArray();
            label[0] = vocabulary - 1;
            if (tokens > 2) {
                label[1] = 0;
                label[2] = -1;
            }
            labels = pair.ints(label);
            losses = new float[tokens];
            dhidden = new float[tokens * width];
            dweight = new float[vocabulary * width];
            reference(pair.cpu.download(hidden.cpu()), pair.cpu.download(weight.cpu()), label);
        }

        private void reference(float[] h, float[] w, int[] label) {
            double[] sums = new double[dweight.length];
            for (int t = 0; t < tokens; t++) {
                if (label[t] >= 0) {
                    token(h, w, label[t], t, sums);
                }
            }
            for (int i = 0; i < sums.length; i++) {
                dweight[i] = (float) sums[i];
            }
        }

        private void token(float[] h, float[] w, int label, int t, double[] sums) {
            double[] z = new double[vocabulary];
            double largest = Double.NEGATIVE_INFINITY;
            for (int v = 0; v < vocabulary; v++) {
                for (int c = 0; c < width; c++) {
                    z[v] += (double) h[t * width + c] * w[v * width + c];
                }
                largest = Math.max(largest, z[v]);
            }
            double sum = 0;
            for (double logit : z) {
                sum += Math.exp(logit - largest);
            }
            losses[t] = (float) (largest - z[label] + Math.log(sum));
            double[] dh = new double[width];
            for (int v = 0; v < vocabulary; v++) {
                double dz = FACTOR * (Math.exp(z[v] - largest) / sum - (v == label ? 1 : 0));
                for (int c = 0; c < width; c++) {
                    dh[c] += dz * w[v * width + c];
                    sums[v * width + c] += dz * h[t * width + c];
                }
            }
            for (int c = 0; c < width; c++) {
                dhidden[t * width + c] = (float) dh[c];
            }
        }

        /** Runs one backend and holds it to FP64; dweight written over NaN, then added to once more. */
        void check(String name, Backend backend, boolean cuda) {
            Tensor loss = of(pair.poison(DType.FP32, tokens), cuda);
            Tensor dh = of(pair.poison(DType.BF16, tokens, width), cuda);
            Tensor dw = of(pair.poison(DType.FP32, vocabulary, width), cuda);
            Tensor h = of(hidden, cuda);
            Tensor w = of(weight, cuda);
            Tensor y = of(labels, cuda);
            String what = name + ' ' + tokens + " x " + vocabulary + " x " + width + ' ';
            backend.loss().linearCrossEntropy(h, w, y, FACTOR, loss, dh, dw, false);
            CudaPair.assertClose(what + "loss", losses, backend.download(loss), LOSS);
            CudaPair.assertClose(what + "dhidden", dhidden, backend.download(dh), GRADIENT);
            float[] once = backend.download(dw);
            CudaPair.assertClose(what + "dweight", dweight, once, GRADIENT);
            backend.loss().linearCrossEntropy(h, w, y, FACTOR, loss, dh, dw, true);
            float[] twice = backend.download(dw);
            float[] doubled = new float[once.length];
            for (int i = 0; i < once.length; i++) {
                doubled[i] = 2 * once[i];
            }
            CudaPair.assertClose(what + "dweight added", doubled, twice, 1e-6);
            Tensor alone = of(pair.poison(DType.FP32, tokens), cuda);
            backend.loss().linearCrossEntropy(h, w, y, FACTOR, alone, null, null);
            CudaPair.assertSameBits(what + "loss alone", backend.download(loss), backend.download(alone));
            Tensor onlyHidden = of(pair.poison(DType.BF16, tokens, width), cuda);
            backend.loss().linearCrossEntropy(h, w, y, FACTOR, alone, onlyHidden, null);
            CudaPair.assertSameBits(what + "dhidden alone", backend.download(dh), backend.download(onlyHidden));
        }

        private static Tensor of(Twin twin, boolean cuda) {
            return cuda ? twin.cuda() : twin.cpu();
        }
    }

    @ParameterizedTest
    @CsvSource({"150, 304, 256", "300, 2056, 192", "1, 8, 512", "515, 1096, 320", "129, 264, 1032"})
    void againstFp64(int tokens, int vocabulary, int width) {
        Case sizes = new Case(tokens, vocabulary, width, 1.5 / Math.sqrt(width));
        sizes.check("cpu", pair.cpu, false);
        sizes.check("cuda", pair.cuda, true);
    }

    /** Logits of the order of hundreds: exponentials relative to the label's logit would overflow for most tokens. */
    @Test
    void lossesFarAboveFiftyFive() {
        Case sizes = new Case(70, 520, 256, 4);
        assertThat(sizes.losses[0]).isGreaterThan(55);
        sizes.check("cpu", pair.cpu, false);
        sizes.check("cuda", pair.cuda, true);
    }

    /** What is not finite stays visible. */
    @Test
    void notANumber() {
        float[] hidden = pair.gaussianValues(1, 4 * 256);
        hidden[2 * 256 + 7] = Float.NaN;
        Twin h = pair.floats(DType.BF16, hidden, 4, 256);
        Twin w = pair.gaussian(DType.BF16, 0.1, 304, 256);
        Twin loss = pair.poison(DType.FP32, 4);
        pair.cuda
                .loss()
                .linearCrossEntropy(h.cuda(), w.cuda(), pair.ints(1, 2, 3, 4).cuda(), 1, loss.cuda(), null, null);
        float[] losses = pair.cuda.download(loss.cuda());
        assertThat(losses[0]).isFinite();
        assertThat(losses[2]).isNaN();
        assertThat(losses[3]).isFinite();
    }
}
