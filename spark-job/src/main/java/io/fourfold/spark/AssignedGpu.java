package io.fourfold.spark;

import io.fourfold.train.TrainingException;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.spark.resource.ResourceInformation;
import org.jspecify.annotations.Nullable;

/**
 * Turns the GPU address that Spark gave to a task into an index among the GPUs that its process sees. Spark does not set
 * CUDA_VISIBLE_DEVICES. Where something else has set it (YARN isolation, Kubernetes), CUDA numbers the listed GPUs anew and
 * the address is an index into that list.
 */
final class AssignedGpu {
    /** Spark's name of the resource. */
    static final String RESOURCE = "gpu";

    /** No GPU was assigned. */
    static final int NONE = -1;

    private AssignedGpu() {}

    /**
     * @param resources of the task, by name
     * @param visible CUDA_VISIBLE_DEVICES, null when it is not set
     * @return index of the device for CUDA, or {@link #NONE}
     * @throws TrainingException when the address is none of the visible devices
     */
    static int index(Map<String, ResourceInformation> resources, @Nullable String visible) {
        ResourceInformation gpus = resources.get(RESOURCE);
        if (gpus == null || gpus.addresses().length == 0) {
            return NONE;
        }
        String address = gpus.addresses()[0].strip();
        if (visible == null) {
            return number(address, "it is not a number, and CUDA_VISIBLE_DEVICES is not set");
        }
        List<String> devices =
                Arrays.stream(visible.split(",")).map(String::strip).toList();
        // An index into the list, or, from a script that knows nothing of the list, an entry of it.
        int index = address.matches("\\d{1,6}") ? Integer.parseInt(address) : NONE;
        int entry = devices.indexOf(address);
        if (index >= devices.size() || index == NONE) {
            index = entry;
        }
        if (index == NONE || visible.isBlank()) {
            throw refused(address, "CUDA_VISIBLE_DEVICES is '" + visible + "'");
        }
        return index;
    }

    private static int number(String address, String problem) {
        try {
            return Integer.parseInt(address);
        } catch (NumberFormatException e) {
            throw refused(address, problem);
        }
    }

    private static TrainingException refused(String address, String problem) {
        return new TrainingException(
                TrainingException.Code.TRAIN_LAUNCH,
                "Spark gave this task GPU '" + address + "', which its process cannot see: " + problem
                        + ". Use scripts/discover-gpus as the discovery script, which prints indices of visible GPUs.");
    }
}
