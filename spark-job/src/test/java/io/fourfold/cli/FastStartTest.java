package io.fourfold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Commands that need no Spark load no class of it, which keeps them fast and usable without it. */
class FastStartTest {
    /** Loads the class path afresh and remembers what of Spark, Scala and Hadoop was asked for. */
    private static final class Watching extends URLClassLoader {
        final List<String> asked = new ArrayList<>();

        Watching() throws Exception {
            super(classPath(), ClassLoader.getPlatformClassLoader());
        }

        private static URL[] classPath() throws Exception {
            List<URL> urls = new ArrayList<>();
            for (String entry : System.getProperty("java.class.path").split(File.pathSeparator)) {
                urls.add(new File(entry).toURI().toURL());
            }
            return urls.toArray(URL[]::new);
        }

        @Override
        protected Class<?> findClass(String name) throws ClassNotFoundException {
            if (name.startsWith("org.apache.spark.")
                    || name.startsWith("scala.")
                    || name.startsWith("org.apache.hadoop.")) {
                asked.add(name);
            }
            return super.findClass(name);
        }
    }

    private static List<String> loadedBy(String... arguments) throws Exception {
        try (Watching loader = new Watching()) {
            Class<?> main = loader.loadClass("io.fourfold.cli.Fourfold");
            StringWriter err = new StringWriter();
            Object code = main.getMethod("run", PrintWriter.class, PrintWriter.class, String[].class)
                    .invoke(null, new PrintWriter(new StringWriter()), new PrintWriter(err), arguments);
            assertThat(code).as(err.toString()).isEqualTo(0);
            return loader.asked;
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"--help", "plan --help", "config-reference", "--version", "train --help", "prepare --help"})
    void textsLoadNoSpark(String arguments) throws Exception {
        assertThat(loadedBy(arguments.split(" "))).isEmpty();
    }

    @Test
    void planLoadsNoSpark() throws Exception {
        Path conf = Path.of(System.getProperty("fourfold.root", ".."), "conf");
        assertThat(loadedBy(
                        "plan",
                        "--json",
                        "--config",
                        conf.resolve("run/quickstart.yaml").toString()))
                .isEmpty();
    }
}
