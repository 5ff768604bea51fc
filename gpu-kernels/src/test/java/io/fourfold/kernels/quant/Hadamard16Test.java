package io.fourfold.kernels.quant;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.kernels.numeric.BFloat16;
import java.util.Random;
import org.junit.jupiter.api.Test;

class Hadamard16Test {

    @Test
    void isTheSignedSylvesterMatrixOverFour() {
        for (int i = 0; i < 16; i++) {
            float[] x = new float[16];
            x[i] = 1;
            Hadamard16.transform(x, 0);
            for (int j = 0; j < 16; j++) {
                float entry = Integer.bitCount(i & j) % 2 == 0 ? 0.25f : -0.25f;
                assertThat(x[j]).isEqualTo(Hadamard16.sign(i) * entry);
            }
        }
    }

    @Test
    void columnsGiveTheBitsOfTheSingleTransform() {
        int rows = 37;
        int cols = 300; // more than one chunk
        float[] x = normal(rows * cols);
        float[] out = new float[48 * cols + 2];
        Hadamard16.transformColumns(x, 0, rows, cols, out, 2);
        for (int c = 0; c < cols; c++) {
            float[] column = new float[48];
            for (int r = 0; r < rows; r++) {
                column[r] = x[r * cols + c];
            }
            for (int at = 0; at < 48; at += 16) {
                Hadamard16.transform(column, at);
            }
            for (int r = 0; r < 48; r++) {
                assertThat(out[2 + r * cols + c]).isEqualTo(column[r]);
            }
        }
    }

    @Test
    void rowsGiveTheBitsOfTheSingleTransform() {
        float[] x = normal(3 * 21);
        float[] out = new float[3 * 32];
        Hadamard16.transformRows(x, 0, 3, 21, out, 0);
        for (int r = 0; r < 3; r++) {
            float[] row = new float[32];
            System.arraycopy(x, r * 21, row, 0, 21);
            Hadamard16.transform(row, 0);
            Hadamard16.transform(row, 16);
            for (int c = 0; c < 32; c++) {
                assertThat(out[r * 32 + c]).isEqualTo(row[c]);
            }
        }
    }

    /** Small integers transform exactly, so the product over a padded depth must equal the plain one exactly. */
    @Test
    void productsDoNotChange() {
        int depth = 37;
        Random random = new Random(2);
        float[] a = new float[depth * 3];
        float[] b = new float[depth * 2];
        for (int i = 0; i < a.length; i++) {
            a[i] = random.nextInt(7) - 3;
        }
        for (int i = 0; i < b.length; i++) {
            b[i] = random.nextInt(7) - 3;
        }
        float[] transformedA = new float[48 * 3];
        float[] transformedB = new float[48 * 2];
        Hadamard16.transformColumns(a, 0, depth, 3, transformedA, 0);
        Hadamard16.transformColumns(b, 0, depth, 2, transformedB, 0);
        for (int m = 0; m < 3; m++) {
            for (int n = 0; n < 2; n++) {
                assertThat(dot(transformedA, 3, m, transformedB, 2, n, 48)).isEqualTo(dot(a, 3, m, b, 2, n, depth));
            }
        }
    }

    private static double dot(float[] a, int colsA, int m, float[] b, int colsB, int n, int depth) {
        double sum = 0;
        for (int k = 0; k < depth; k++) {
            sum += (double) a[k * colsA + m] * b[k * colsB + n];
        }
        return sum;
    }

    private static float[] normal(int size) {
        Random random = new Random(4);
        float[] x = new float[size];
        for (int i = 0; i < size; i++) {
            x[i] = BFloat16.round((float) random.nextGaussian());
        }
        return x;
    }
}
