package io.fourfold.spark;

import io.fourfold.train.RunIdentity;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.package$;

/** What must be the same on every rank of a gang. One odd rank would compute something else, or hang the others. */
final class GangFacts {
    private static final Path NVIDIA_DRIVER = Path.of("/sys/module/nvidia/version");

    private GangFacts() {}

    static Map<String, String> of(RunIdentity identity, Accelerator accelerator) {
        Map<String, String> facts = new TreeMap<>(accelerator.facts());
        facts.put("configuration hash", identity.configHash());
        facts.put("program version", Version.current());
        facts.put("Java version", Integer.toString(Runtime.version().feature()));
        facts.put("processor architecture", System.getProperty("os.arch", "unknown"));
        facts.put("Spark version", package$.MODULE$.SPARK_VERSION());
        facts.put("NVIDIA driver", driver());
        return facts;
    }

    private static String driver() {
        if (!Files.isReadable(NVIDIA_DRIVER)) {
            return "none";
        }
        try {
            return Files.readString(NVIDIA_DRIVER).strip();
        } catch (IOException e) {
            return "unreadable (" + e.getMessage() + ")";
        }
    }
}
