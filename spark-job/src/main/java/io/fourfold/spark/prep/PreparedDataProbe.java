package io.fourfold.spark.prep;

import io.fourfold.config.FailureReason;
import io.fourfold.config.FourfoldConfig;
import io.fourfold.data.DataException;
import io.fourfold.data.shard.Manifest;
import io.fourfold.data.shard.ManifestFile;
import io.fourfold.data.shard.ShardInfo;
import io.fourfold.eval.ReaderSettings;
import java.io.IOException;
import java.io.InputStream;
import java.util.List;
import org.apache.hadoop.conf.Configuration;

/** Whether this machine can read the prepared data: every shard is there with its size and opens. Reads no content. */
public final class PreparedDataProbe {
    private PreparedDataProbe() {}

    /**
     * @throws DataException naming the file that cannot be read
     */
    public static void check(FourfoldConfig config, String split, Configuration configuration) {
        String prepared = config.data().prepared();
        try {
            Folder folder = Folder.of(prepared, configuration);
            List<String> dataSets = PreparedData.dataSets(folder, ReaderSettings.of(config, null));
            if (dataSets.isEmpty()) {
                throw new DataException("No prepared data at " + folder.path()
                        + ". Run 'fourfold prepare' with this configuration, or correct data.prepared.");
            }
            for (String dataSet : dataSets) {
                check(folder.child(dataSet).child(split));
            }
        } catch (IOException e) {
            throw new DataException("Cannot read prepared data at " + prepared + ": " + FailureReason.of(e), e);
        }
    }

    private static void check(Folder folder) throws IOException {
        if (!folder.exists(Manifest.FILE)) {
            throw new DataException("No prepared data at " + folder.path() + ": manifest.json is missing. Run 'fourfold"
                    + " prepare' with this configuration, or correct data.prepared.");
        }
        Manifest manifest = ManifestFile.parse(folder.read(Manifest.FILE), folder.path() + "/" + Manifest.FILE);
        for (ShardInfo shard : manifest.shards()) {
            String file = folder.path() + "/" + shard.file();
            if (!folder.exists(shard.file())) {
                throw new DataException("Shard " + file + " is missing. Run 'fourfold prepare' again, it makes only"
                        + " what is not there.");
            }
            long length = folder.length(shard.file());
            if (length != shard.bytes()) {
                throw new DataException("Shard " + file + " has " + length + " bytes, the manifest says "
                        + shard.bytes() + ". Delete it and run 'fourfold prepare' again.");
            }
            try (InputStream in = folder.open(shard.file())) {
                if (length > 0 && in.read() < 0) {
                    throw new IOException(file + " ends before its first byte");
                }
            }
        }
    }
}
