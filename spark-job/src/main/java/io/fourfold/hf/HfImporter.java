package io.fourfold.hf;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.config.FailureReason;
import io.fourfold.config.ModelConfig;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Opens a Hugging Face folder: config.json and one model.safetensors or shards with an index. */
public final class HfImporter {
    private static final ObjectMapper JSON = new ObjectMapper();

    private HfImporter() {}

    /**
     * Opens a folder and checks that it holds every tensor its config.json calls for. Weights are read when asked for.
     *
     * @throws HfException with all that is missing, of another shape, damaged or unsupported
     */
    public static HfModel open(Path folder) {
        Path name = folder.toAbsolutePath().normalize().getFileName();
        return open(folder, name == null ? "imported" : name.toString());
    }

    /** As {@link #open(Path)} with a name for the model. */
    public static HfModel open(Path folder, String name) {
        ModelConfig model = HfConfigReader.read(folder.resolve("config.json"), name);
        List<String> reasons = HfFamilies.reasons(model);
        if (!reasons.isEmpty()) {
            throw HfException.of(
                    folder + "/config.json describes a model that its own family cannot have", reasons, "Correct it.");
        }
        List<SafetensorsReader> readers = new ArrayList<>();
        try {
            for (Path file : files(folder)) {
                readers.add(SafetensorsReader.open(file));
            }
            return new HfModel(model, HfTensorSource.create(folder, model, readers));
        } catch (RuntimeException e) {
            readers.forEach(SafetensorsReader::close);
            throw e;
        }
    }

    private static List<Path> files(Path folder) {
        Path single = folder.resolve(HfExporter.SINGLE);
        if (Files.isRegularFile(single)) {
            return List.of(single);
        }
        Path index = folder.resolve(HfExporter.INDEX);
        if (!Files.isRegularFile(index)) {
            throw new HfException(folder + " has neither " + HfExporter.SINGLE + " nor " + HfExporter.INDEX
                    + ". Weights in another form (.bin, .gguf) must be saved as safetensors first");
        }
        Set<String> names = new LinkedHashSet<>();
        try {
            JsonNode weightMap = JSON.readTree(Files.readAllBytes(index)).path("weight_map");
            for (Map.Entry<String, JsonNode> entry : weightMap.properties()) {
                names.add(entry.getValue().asText());
            }
        } catch (IOException e) {
            throw new HfException("cannot read " + index + ": " + FailureReason.of(e), e);
        }
        List<String> problems = new ArrayList<>();
        for (String name : names) {
            if (!name.equals(Path.of(name).getFileName().toString())) {
                problems.add("\"" + name + "\" is not the name of a file in this folder");
            } else if (!Files.isRegularFile(folder.resolve(name))) {
                problems.add(name + " is missing");
            }
        }
        if (names.isEmpty()) {
            problems.add("weight_map is empty");
        }
        if (!problems.isEmpty()) {
            throw HfException.of(index + " cannot be followed", problems, "Download the missing files again.");
        }
        return names.stream().map(folder::resolve).toList();
    }
}
