package io.fourfold.kernels.quant;

import io.fourfold.kernels.numeric.Float4E2M1;
import io.fourfold.kernels.numeric.Float8E4M3;
import io.fourfold.kernels.numeric.Float8E5M2;
import io.fourfold.kernels.op.OperandSpec;
import io.fourfold.kernels.op.OperandSpec.Blocks;
import io.fourfold.kernels.op.OperandSpec.Format;
import io.fourfold.kernels.op.OperandSpec.Rounding;
import org.jspecify.annotations.Nullable;

/**
 * Quantizes a matrix into stored codes and scales, element by element as the formulas read. This is the definition;
 * {@link BlockQuantizer} computes the same values faster and GPU kernels the same bytes.
 */
public final class PackingQuantizer {
    private final OperandSpec spec;
    private final boolean byColumns;
    private final @Nullable StochasticBits random;
    private final int rows;
    private final int depth;
    private final float[] x;
    private final BlockTile tile;

    private PackingQuantizer(
            float[] source, int rows, int cols, boolean byColumns, OperandSpec spec, @Nullable StochasticBits random) {
        this.spec = spec;
        this.byColumns = byColumns;
        this.random = random;
        this.rows = byColumns ? cols : rows;
        int given = byColumns ? rows : cols;
        this.depth = spec.hadamard() ? Hadamard16.roundUp(given) : given;
        this.tile = BlockTile.ofOperand(spec);
        this.x = new float[this.rows * depth];
        for (int r = 0; r < this.rows; r++) {
            for (int k = 0; k < given; k++) {
                x[r * depth + k] = byColumns ? source[k * cols + r] : source[r * cols + k];
            }
        }
        if (spec.hadamard()) {
            for (int at = 0; at < x.length; at += Hadamard16.SIZE) {
                Hadamard16.transform(x, at);
            }
        }
    }

    /**
     * @param source [rows, cols] row-major
     * @param byColumns false: operand [rows, cols]; true: operand [cols, rows]
     * @param random needed when the spec rounds stochastically
     */
    public static PackedMatrix quantize(
            float[] source, int rows, int cols, boolean byColumns, OperandSpec spec, @Nullable StochasticBits random) {
        BlockQuantizer.check(spec, random);
        return new PackingQuantizer(source, rows, cols, byColumns, spec, random).pack();
    }

    private PackedMatrix pack() {
        float amax = amax(0, rows, 0, depth);
        BlockScaling scaling = BlockScaling.of(spec, amax);
        boolean fp4 = spec.format() == Format.NVFP4 || spec.format() == Format.MXFP4;
        int unit = fp4 ? tile.cols() : 16;
        int storedDepth = (depth + unit - 1) / unit * unit;
        byte[] codes = new byte[fp4 ? rows * storedDepth / 2 : rows * storedDepth];
        int blocks = tile.colCount(depth);
        byte[] scales = new byte[fp4 ? rows * blocks : 0];
        float[] factors = new float[fp4 || spec.blocks() == Blocks.TENSOR ? 0 : tile.rowCount(rows) * blocks];
        for (int r = 0; r < rows; r++) {
            for (int block = 0; block < blocks; block++) {
                float blockAmax = blockAmax(r, block);
                float decode = scaling.decodeFactor(blockAmax);
                if (fp4) {
                    scales[r * blocks + block] = (byte) scaling.scaleByte(blockAmax);
                } else if (factors.length > 0) {
                    factors[r / tile.rows() * blocks + block] = decode;
                }
                float encode = scaling.encodeFactor(blockAmax, decode);
                for (int k = block * tile.cols(); k < Math.min(depth, (block + 1) * tile.cols()); k++) {
                    int index = r * storedDepth + k;
                    int code = code(x[r * depth + k] * encode, r, k);
                    if (fp4) {
                        codes[index / 2] |= (byte) (code << (index % 2 * 4));
                    } else {
                        codes[index] = (byte) code;
                    }
                }
            }
        }
        return new PackedMatrix(spec, rows, depth, storedDepth, codes, scales, factors, amax, scaling.tensorScale());
    }

    private int code(float scaled, int row, int k) {
        return switch (spec.format()) {
            case FP8_E4M3 -> Float8E4M3.encode(scaled);
            case FP8_E5M2 -> Float8E5M2.encode(scaled);
            case NVFP4, MXFP4 -> {
                if (spec.rounding() == Rounding.NEAREST_EVEN || random == null) {
                    yield Float4E2M1.encode(scaled);
                }
                int bits = byColumns ? random.byteAt(k, row) : random.byteAt(row, k);
                yield Float4E2M1.exactCode(Float4E2M1.stochastic(scaled, bits));
            }
            case FP32, BF16 -> throw new IllegalStateException("not a quantized format: " + spec);
        };
    }

    private float blockAmax(int row, int block) {
        int firstRow = row / tile.rows() * tile.rows();
        int firstK = block * tile.cols();
        return amax(firstRow, Math.min(rows, firstRow + tile.rows()), firstK, Math.min(depth, firstK + tile.cols()));
    }

    private float amax(int fromRow, int toRow, int fromK, int toK) {
        float amax = 0f;
        for (int r = fromRow; r < toRow; r++) {
            for (int k = fromK; k < toK; k++) {
                amax = Math.max(amax, Math.abs(x[r * depth + k])); // Math.max hands NaN on
            }
        }
        return amax;
    }
}
