package io.fourfold.browser;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;

/** A headless Chromium, driven over its DevTools protocol: one page, what its console said, screenshots. */
public final class HeadlessBrowser implements AutoCloseable {
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final List<String> NAMES = List.of("chromium", "chromium-browser", "google-chrome");
    private static final int SECONDS = 30;

    private final Process process;
    private final Path profile;
    private final WebSocket socket;
    private final Map<Integer, CompletableFuture<JsonNode>> answers = new ConcurrentHashMap<>();
    private final List<String> errors = Collections.synchronizedList(new ArrayList<>());
    private final AtomicInteger number = new AtomicInteger();

    private HeadlessBrowser(Process process, Path profile, URI page) {
        this.process = process;
        this.profile = profile;
        socket = HttpClient.newHttpClient()
                .newWebSocketBuilder()
                .buildAsync(page, new Listener())
                .join();
        call("Page.enable", MAPPER.createObjectNode());
        call("Runtime.enable", MAPPER.createObjectNode());
        call("Log.enable", MAPPER.createObjectNode());
    }

    /** The browser's program, empty when none is installed. */
    public static Optional<Path> program() {
        return Stream.of(System.getenv().getOrDefault("PATH", "").split(File.pathSeparator, -1))
                .flatMap(folder -> NAMES.stream().map(name -> Path.of(folder, name)))
                .filter(Files::isExecutable)
                .findFirst();
    }

    /** Starts a browser with an empty profile. */
    public static HeadlessBrowser start(int width, int height) throws IOException, InterruptedException {
        Path profile = Files.createTempDirectory("fourfold-browser-");
        Process process = new ProcessBuilder(
                        program().orElseThrow().toString(),
                        "--headless=new",
                        "--no-sandbox",
                        "--disable-gpu",
                        "--disable-dev-shm-usage",
                        "--hide-scrollbars",
                        "--remote-debugging-port=0",
                        "--remote-allow-origins=*",
                        "--user-data-dir=" + profile,
                        "--window-size=" + width + "," + height,
                        "about:blank")
                .redirectErrorStream(true)
                .redirectOutput(profile.resolve("browser.log").toFile())
                .start();
        Path port = profile.resolve("DevToolsActivePort");
        for (int i = 0; i < SECONDS * 10; i++) {
            if (Files.exists(port) && Files.readAllLines(port).size() == 2) {
                return new HeadlessBrowser(
                        process, profile, page(Files.readAllLines(port).get(0)));
            }
            Thread.sleep(100);
        }
        process.destroyForcibly();
        throw new IOException("the browser did not start: " + Files.readString(profile.resolve("browser.log")));
    }

    private static URI page(String port) throws IOException {
        JsonNode pages = MAPPER.readTree(
                URI.create("http://127.0.0.1:" + port + "/json/list").toURL());
        for (JsonNode page : pages) {
            if (page.path("type").asText().equals("page")) {
                return URI.create(page.path("webSocketDebuggerUrl").asText());
            }
        }
        throw new IOException("the browser has no page");
    }

    /** Light or dark, as the user's system would ask for. */
    public void scheme(String lightOrDark) {
        ObjectNode arguments = MAPPER.createObjectNode();
        arguments
                .putArray("features")
                .addObject()
                .put("name", "prefers-color-scheme")
                .put("value", lightOrDark);
        call("Emulation.setEmulatedMedia", arguments);
    }

    public void open(String address) {
        call("Page.navigate", MAPPER.createObjectNode().put("url", address));
    }

    /** The value of an expression, as JSON. */
    public JsonNode evaluate(String expression) {
        JsonNode answer = call(
                "Runtime.evaluate",
                MAPPER.createObjectNode().put("expression", expression).put("returnByValue", true));
        return answer.path("result").path("value");
    }

    /** Waits until an expression is true. */
    public void await(String expression) throws InterruptedException {
        for (int i = 0; i < SECONDS * 10; i++) {
            if (evaluate(expression).asBoolean()) {
                return;
            }
            Thread.sleep(100);
        }
        throw new AssertionError("never true: " + expression + "; console: " + errors);
    }

    /** Moves the mouse, in pixels of the page as it is shown. */
    public void moveTo(double x, double y) {
        call(
                "Input.dispatchMouseEvent",
                MAPPER.createObjectNode().put("type", "mouseMoved").put("x", x).put("y", y));
    }

    /** The page from its top to {@code height} pixels as a PNG file. */
    public void screenshot(Path file, int width, int height) throws IOException {
        ObjectNode arguments = MAPPER.createObjectNode().put("format", "png").put("captureBeyondViewport", true);
        arguments
                .putObject("clip")
                .put("x", 0)
                .put("y", 0)
                .put("width", width)
                .put("height", height)
                .put("scale", 1);
        JsonNode answer = call("Page.captureScreenshot", arguments);
        Files.write(file, Base64.getDecoder().decode(answer.path("data").asText()));
    }

    /** Errors of the console: exceptions, failed requests, what the security policy refused. */
    public List<String> errors() {
        return List.copyOf(errors);
    }

    private JsonNode call(String method, ObjectNode arguments) {
        int id = number.incrementAndGet();
        CompletableFuture<JsonNode> answer = new CompletableFuture<>();
        answers.put(id, answer);
        ObjectNode message = MAPPER.createObjectNode().put("id", id).put("method", method);
        message.set("params", arguments);
        socket.sendText(message.toString(), true);
        return answer.orTimeout(SECONDS, TimeUnit.SECONDS).join();
    }

    private void receive(String text) throws IOException {
        JsonNode message = MAPPER.readTree(text);
        CompletableFuture<JsonNode> answer = answers.remove(message.path("id").asInt(-1));
        if (answer != null) {
            answer.complete(message.path("result"));
            return;
        }
        JsonNode arguments = message.path("params");
        switch (message.path("method").asText()) {
            case "Runtime.exceptionThrown" ->
                errors.add(arguments.path("exceptionDetails").toString());
            case "Runtime.consoleAPICalled" -> {
                if (arguments.path("type").asText().equals("error")) {
                    errors.add(arguments.path("args").toString());
                }
            }
            case "Log.entryAdded" -> {
                if (arguments.path("entry").path("level").asText().equals("error")) {
                    errors.add(arguments.path("entry").toString());
                }
            }
            default -> {
                // Of no interest here.
            }
        }
    }

    @Override
    public void close() throws IOException, InterruptedException {
        socket.abort();
        process.descendants().forEach(ProcessHandle::destroyForcibly);
        process.destroyForcibly();
        process.waitFor(SECONDS, TimeUnit.SECONDS);
        try (Stream<Path> files = Files.walk(profile)) {
            files.sorted(Collections.reverseOrder())
                    .forEach(file -> file.toFile().delete());
        }
    }

    private final class Listener implements WebSocket.Listener {
        private final StringBuilder parts = new StringBuilder();

        @Override
        public CompletionStage<?> onText(WebSocket from, CharSequence part, boolean last) {
            parts.append(part);
            if (last) {
                String text = parts.toString();
                parts.setLength(0);
                try {
                    receive(text);
                } catch (IOException e) {
                    errors.add("not JSON: " + e);
                }
            }
            from.request(1);
            return CompletableFuture.completedFuture(null);
        }
    }
}
