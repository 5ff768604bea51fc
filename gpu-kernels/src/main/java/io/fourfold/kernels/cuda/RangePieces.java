package io.fourfold.kernels.cuda;

import io.fourfold.kernels.tensor.DType;
import java.util.List;

/**
 * Pieces of ranges of a flat buffer, each for one block, on the device.
 *
 * @param bounds INT64 [count, 2], first and end element
 * @param places INT32 [count], which result each piece belongs to
 */
record RangePieces(int count, CudaTensor bounds, CudaTensor places) {
    /**
     * A piece on the host.
     *
     * @param place which result it belongs to
     */
    record Piece(long from, long to, int place) {}

    static RangePieces upload(CudaRuntime cuda, CudaTensorScope scope, List<Piece> pieces) {
        int[] bounds = new int[pieces.size() * 4];
        int[] places = new int[pieces.size()];
        for (int i = 0; i < places.length; i++) {
            Piece piece = pieces.get(i);
            bounds[4 * i] = (int) piece.from;
            bounds[4 * i + 1] = (int) (piece.from >>> 32);
            bounds[4 * i + 2] = (int) piece.to;
            bounds[4 * i + 3] = (int) (piece.to >>> 32);
            places[i] = piece.place;
        }
        CudaTensor deviceBounds = scope.allocate(DType.INT32, Math.max(1, places.length), 4);
        CudaTensor devicePlaces = scope.allocate(DType.INT32, Math.max(1, places.length));
        if (places.length > 0) {
            cuda.memory().upload(bounds, deviceBounds);
            cuda.memory().upload(places, devicePlaces);
        }
        return new RangePieces(places.length, deviceBounds, devicePlaces);
    }
}
