package io.fourfold.kernels.cuda;

import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.cuda.global.cudart;

/**
 * Tensor maps of the copy engine, encoded once per address and shape: in the steady state of training the same buffers
 * come back every step. The least recently used ones go when there are many.
 */
public final class TensorMaps implements AutoCloseable {
    private static final int CAPACITY = 4096;

    private static final int BYTES = cudart.CU_TENSOR_MAP_DATA_TYPE_UINT8;
    private static final int BF16 = cudart.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    private static final int FP32 = cudart.CU_TENSOR_MAP_DATA_TYPE_FLOAT32;

    private record Key(long address, int groups, int rows, int cols, int boxRows, int boxCols, int rank, int type) {}

    private final Map<Key, TensorMap> maps = new LinkedHashMap<>(256, 0.75f, true);

    /** A BF16 matrix [rows, cols], read in boxes of {@code boxRows} by {@code boxCols}, 128-byte swizzle. */
    public TensorMap bf16(long address, int rows, int cols, int boxRows, int boxCols) {
        return get(new Key(address, 1, rows, cols, boxRows, boxCols, 2, BF16));
    }

    /** A matrix of bytes [rows, cols], read in boxes of {@code boxRows} by {@code boxCols}, 128-byte swizzle. */
    public TensorMap bytes(long address, int rows, int cols, int boxRows, int boxCols) {
        return get(new Key(address, 1, rows, cols, boxRows, boxCols, 2, BYTES));
    }

    /** BF16 matrices [batch, rows, cols] in boxes of one of them; rows beyond a matrix read as zero and are not written. */
    public TensorMap bf16(long address, int batch, int rows, int cols, int boxRows, int boxCols) {
        return get(new Key(address, batch, rows, cols, boxRows, boxCols, 3, BF16));
    }

    /** FP32 matrices [groups, rows, cols], written in boxes of one group, 128-byte swizzle. */
    public TensorMap fp32(long address, int groups, int rows, int cols, int boxRows, int boxCols) {
        return get(new Key(address, groups, rows, cols, boxRows, boxCols, 3, FP32));
    }

    @Override
    public void close() {
        maps.values().forEach(TensorMap::close);
        maps.clear();
    }

    private TensorMap get(Key key) {
        TensorMap known = maps.get(key);
        if (known != null) {
            return known;
        }
        if (maps.size() >= CAPACITY) {
            Map.Entry<Key, TensorMap> oldest = maps.entrySet().iterator().next();
            maps.remove(oldest.getKey());
            oldest.getValue().close(); // launches have copied it
        }
        TensorMap map = encode(key);
        maps.put(key, map);
        return map;
    }

    private static TensorMap encode(Key key) {
        TensorMap map = new TensorMap();
        int element = key.type == FP32 ? 4 : key.type == BF16 ? 2 : 1;
        long rowBytes = (long) key.cols * element;
        boolean stacked = key.rank == 3;
        long[] sizes = stacked ? new long[] {key.cols, key.rows, key.groups} : new long[] {key.cols, key.rows};
        long[] strides = stacked ? new long[] {rowBytes, rowBytes * key.rows} : new long[] {rowBytes};
        int[] box = stacked ? new int[] {key.boxCols, key.boxRows, 1} : new int[] {key.boxCols, key.boxRows};
        int[] steps = stacked ? new int[] {1, 1, 1} : new int[] {1, 1};
        int result = cudart.cuTensorMapEncodeTiled(
                map.javacpp(),
                key.type,
                sizes.length,
                Addresses.of(key.address),
                sizes,
                strides,
                box,
                steps,
                cudart.CU_TENSOR_MAP_INTERLEAVE_NONE,
                cudart.CU_TENSOR_MAP_SWIZZLE_128B,
                cudart.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                cudart.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
        CudaDevice.check(result, "encoding the tensor map " + key);
        return map;
    }
}
