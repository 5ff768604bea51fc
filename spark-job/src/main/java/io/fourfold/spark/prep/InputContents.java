package io.fourfold.spark.prep;

import java.io.IOException;
import java.io.InputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.spark.api.java.JavaRDD;
import org.jspecify.annotations.Nullable;

/** Knows inputs by their content; reads again only what may have changed since the earlier plan. */
final class InputContents {
    private static final int CHUNK = 1 << 16;

    private InputContents() {}

    static List<PrepPlan.Input> hash(
            JavaRDD<InputFile> files, List<InputFile> inputs, @Nullable PrepPlan earlier, WorkContext work) {
        Map<String, PrepPlan.Input> known = new HashMap<>();
        if (earlier != null) {
            earlier.inputs().forEach(input -> known.put(input.name(), input));
        }
        HashMap<String, String> unchanged = new HashMap<>();
        for (InputFile file : inputs) {
            PrepPlan.Input before = known.get(file.name());
            if (before != null && before.length() == file.length() && before.modified() == file.modified()) {
                unchanged.put(file.name(), before.sha256());
            }
        }
        List<String> hashes = unchanged.size() == inputs.size()
                ? inputs.stream()
                        .map(file -> unchanged.getOrDefault(file.name(), ""))
                        .toList()
                : files.map(file -> {
                            String same = unchanged.get(file.name());
                            return same != null ? same : sha256(file, work.configuration());
                        })
                        .collect();
        List<PrepPlan.Input> result = new ArrayList<>();
        for (int i = 0; i < inputs.size(); i++) {
            InputFile file = inputs.get(i);
            result.add(new PrepPlan.Input(file.name(), file.length(), file.modified(), hashes.get(i)));
        }
        return result;
    }

    private static String sha256(InputFile file, Configuration configuration) throws IOException {
        Path path = new Path(file.path());
        try (InputStream in = Folder.raw(path.getFileSystem(configuration)).open(path)) {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            byte[] chunk = new byte[CHUNK];
            for (int read = in.read(chunk); read >= 0; read = in.read(chunk)) {
                digest.update(chunk, 0, read);
            }
            return HexFormat.of().formatHex(digest.digest());
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("Every Java platform has SHA-256", e);
        }
    }
}
