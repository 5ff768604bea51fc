package io.fourfold.data.shard;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.fourfold.data.DataException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;

/** Reads and writes manifests as JSON with snake_case keys; the same manifest always gives the same bytes. */
public final class ManifestFile {
    private static final ObjectMapper JSON = JsonMapper.builder()
            .propertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
            .enable(SerializationFeature.INDENT_OUTPUT)
            .enable(DeserializationFeature.FAIL_ON_NULL_CREATOR_PROPERTIES)
            .enable(DeserializationFeature.FAIL_ON_MISSING_CREATOR_PROPERTIES)
            .build();

    private ManifestFile() {}

    /** JSON text in UTF-8. */
    public static byte[] toBytes(Manifest manifest) {
        try {
            return (JSON.writeValueAsString(manifest) + "\n").getBytes(StandardCharsets.UTF_8);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException("A manifest is always representable as JSON", e);
        }
    }

    /**
     * Reads {@code manifest.json} of a split folder.
     *
     * @throws DataException if it is missing, unreadable or of another format
     */
    public static Manifest read(Path splitFolder) {
        Path file = splitFolder.resolve(Manifest.FILE);
        try {
            return parse(Files.readAllBytes(file), file.toString());
        } catch (NoSuchFileException e) {
            throw new DataException("No prepared data at " + splitFolder + ": " + file
                    + " is missing. Run 'fourfold prepare' with this configuration, or correct data.prepared; a"
                    + " preparation that was stopped is finished by running it again.");
        } catch (IOException e) {
            throw new DataException("Cannot read " + file + ": " + e.getMessage(), e);
        }
    }

    /** Parses the content of {@code where}. */
    public static Manifest parse(byte[] content, String where) {
        Manifest manifest;
        try {
            manifest = JSON.readValue(content, Manifest.class);
        } catch (IOException e) {
            throw new DataException(
                    "Manifest " + where + " is damaged: " + e.getMessage()
                            + ". Delete it and run 'fourfold prepare' again; complete shards are kept.",
                    e);
        }
        if (!manifest.format().equals(Manifest.FORMAT) || manifest.version() != Manifest.VERSION) {
            throw new DataException("Manifest " + where + " has format " + manifest.format() + " version "
                    + manifest.version() + ", this program reads " + Manifest.FORMAT + " version " + Manifest.VERSION
                    + ". Prepare the data again with this version.");
        }
        return manifest;
    }
}
