package io.fourfold.hf;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.config.ModelConfig;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.stream.Stream;

/** The golden files of transformers. */
final class Golden {
    /** What transformers computed: tokens [T] and logits [T, V]. */
    record Expected(int[] tokens, float[] logits, String weightsSha256) {}

    private Golden() {}

    static Path folder(String family) {
        return Objects.requireNonNull(resource(family + "/config.json").getParent());
    }

    static Expected record(String family) {
        return read(resource(family + "/expected.json"));
    }

    static Expected exportedRecord(String family) {
        return read(resource("exported/" + family + ".json"));
    }

    static ModelConfig exported(String family) {
        return ExportedModels.all().stream()
                .filter(model -> model.name().equals(family))
                .findFirst()
                .orElseThrow();
    }

    private static Path resource(String name) {
        URL url = Objects.requireNonNull(Golden.class.getResource("/hf/" + name), name);
        try {
            return Path.of(url.toURI());
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }

    private static Expected read(Path file) {
        try {
            JsonNode json = new ObjectMapper().readTree(Files.readAllBytes(file));
            int[] tokens = new int[json.get("tokens").size()];
            Arrays.setAll(tokens, i -> json.get("tokens").get(i).asInt());
            int vocab = json.get("logits").get(0).size();
            float[] logits = new float[tokens.length * vocab];
            for (int i = 0; i < logits.length; i++) {
                logits[i] =
                        (float) json.get("logits").get(i / vocab).get(i % vocab).asDouble();
            }
            return new Expected(tokens, logits, json.get("weights_sha256").asText());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static List<Path> weightFiles(Path folder) {
        try (Stream<Path> files = Files.list(folder)) {
            return files.filter(f -> f.toString().endsWith(".safetensors"))
                    .sorted()
                    .toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** SHA-256 over the weight files in the order of their names, as check_export.py takes it. */
    static String weightsSha256(Path folder) {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            for (Path file : weightFiles(folder)) {
                digest.update(Files.readAllBytes(file));
            }
            return HexFormat.of().formatHex(digest.digest());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Type, shape and bits of every tensor by its name on disk. */
    static Map<String, String> rawTensors(Path folder) {
        Map<String, String> tensors = new TreeMap<>();
        for (Path file : weightFiles(folder)) {
            try (SafetensorsReader reader = SafetensorsReader.open(file)) {
                for (String name : reader.names()) {
                    float[] values = reader.readWhole(name);
                    int[] bits = new int[values.length];
                    Arrays.setAll(bits, i -> Float.floatToRawIntBits(values[i]));
                    tensors.put(name, reader.dtype(name) + Arrays.toString(reader.shape(name)) + Arrays.toString(bits));
                }
            }
        }
        return tensors;
    }
}
