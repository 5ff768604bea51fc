package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.train.TrainingException;
import java.util.Map;
import org.apache.spark.resource.ResourceInformation;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class AssignedGpuTest {
    @ParameterizedTest
    @CsvSource(
            nullValues = "unset",
            delimiter = '|',
            value = {
                "3 | unset | 3",
                "1 | 4,5 | 1",
                "5 | 4,5 | 1",
                "0 | GPU-aa, GPU-bb | 0",
                "GPU-bb | GPU-aa, GPU-bb | 1",
                "0 | MIG-1 | 0"
            })
    void theAddressIsAnIndexIntoTheVisibleDevices(String address, String visible, int device) {
        assertThat(AssignedGpu.index(gpu(address), visible)).isEqualTo(device);
    }

    @Test
    void aTaskMayHaveNone() {
        assertThat(AssignedGpu.index(Map.of(), "0,1")).isEqualTo(AssignedGpu.NONE);
    }

    @ParameterizedTest
    @CsvSource(
            nullValues = "unset",
            delimiter = '|',
            value = {"2 | 0,1", "0 | ''", "GPU-cc | GPU-aa", "GPU-cc | unset"})
    void anInvisibleDeviceIsRefused(String address, String visible) {
        assertThatThrownBy(() -> AssignedGpu.index(gpu(address), visible))
                .isInstanceOf(TrainingException.class)
                .hasMessageContaining("TRAIN_LAUNCH")
                .hasMessageContaining(address)
                .hasMessageContaining("CUDA_VISIBLE_DEVICES")
                .hasMessageContaining("scripts/discover-gpus");
    }

    private static Map<String, ResourceInformation> gpu(String address) {
        return Map.of("gpu", new ResourceInformation("gpu", new String[] {address}));
    }
}
