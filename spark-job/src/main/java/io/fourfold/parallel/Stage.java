package io.fourfold.parallel;

/**
 * One part of the model's depth: blocks {@code [firstLayer, endLayer)}, after the embedding when it is the first part and
 * before the head when it is the last.
 *
 * @param index 0-based in the order of the forward pass
 * @param first holds the embedding
 * @param last holds the head
 */
public record Stage(int index, int firstLayer, int endLayer, boolean first, boolean last) {
    public Stage {
        if (firstLayer < 0 || endLayer < firstLayer) {
            throw new IllegalArgumentException("stage " + index + " of blocks [" + firstLayer + ", " + endLayer + ")");
        }
    }

    public int layers() {
        return endLayer - firstLayer;
    }

    public boolean has(int layer) {
        return layer >= firstLayer && layer < endLayer;
    }
}
