package io.fourfold.kernels.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class ShapeTest {
    @Test
    void flatBuffersHaveOneDimensionWhereAnIntCountsThem() {
        assertThat(Shape.flat(0)).isEqualTo(Shape.of(0));
        assertThat(Shape.flat(Integer.MAX_VALUE)).isEqualTo(Shape.of(Integer.MAX_VALUE));
    }

    @Test
    void longerFlatBuffersBecomeRows() {
        long elements = 3_164_000_016L;
        Shape shape = Shape.flat(elements);
        assertThat(shape.elements()).isEqualTo(elements);
        assertThat(shape.rank()).isEqualTo(2);
        assertThat(Shape.flat(1L << 40)).isEqualTo(Shape.of(1 << 20, 1 << 20));
    }

    @Test
    void aLongBufferThatDoesNotSplitIsRefused() {
        assertThatThrownBy(() -> Shape.flat((1L << 32) + 1)).hasMessageContaining("pad it to a multiple of 16");
    }
}
