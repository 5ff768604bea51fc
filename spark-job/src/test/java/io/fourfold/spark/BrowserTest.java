package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.fourfold.browser.HeadlessBrowser;
import io.fourfold.train.TinyRun;
import io.fourfold.train.TrainResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The tab of a run that goes on, as a browser shows it. */
class BrowserTest {
    private static final String ROOT = "document.getElementById('fourfold').shadowRoot";
    private static final String REFRESHED = "document.getElementById('fourfold').getAttribute('data-refreshed')";
    private static final String CHARTS = ROOT + ".querySelectorAll('svg.chart path.line').length";

    @TempDir
    Path folder;

    @BeforeAll
    static void needsABrowser() {
        boolean there = HeadlessBrowser.program().isPresent();
        if (!there) {
            System.out.println("BrowserTest is skipped: no chromium or google-chrome is on the PATH");
        }
        assumeTrue(there, "no chromium or google-chrome is on the PATH");
    }

    @Test
    void theTabOfARunningJobDrawsItsChartsAndRefreshesThem() throws Exception {
        System.setProperty("spark.ui.enabled", "true");
        System.setProperty("spark.ui.port", "0");
        try (SparkSession spark = SparkSessions.open("browser", 2);
                HeadlessBrowser browser = HeadlessBrowser.start(1280, 1000)) {
            String ui = "http://127.0.0.1:" + spark.sparkContext().ui().get().boundPort();
            browser.open(ui + "/fourfold/");
            browser.await(ROOT + " !== null && " + ROOT + ".textContent.includes('no run yet')");

            CompletableFuture<TrainResult> run = CompletableFuture.supplyAsync(() -> train(spark));
            try {
                browser.await(CHARTS + " >= 4");
                String first = browser.evaluate(REFRESHED).asText();
                browser.await(
                        REFRESHED + " !== '" + first + "' && " + ROOT + ".textContent.includes('training, step')");
                assertThat(browser.evaluate(ROOT + ".querySelectorAll('svg.heat').length")
                                .asInt())
                        .isGreaterThanOrEqualTo(2);
                assertThat(browser.evaluate("document.querySelectorAll('a[href*=fourfold]').length")
                                .asInt())
                        .as("the tab in Spark's header")
                        .isPositive();
                tooltip(browser);
            } finally {
                Files.createFile(folder.resolve("STOP"));
                assertThat(run.join().stopped()).isTrue();
            }
            browser.scheme("dark");
            browser.open(ui + "/fourfold/");
            browser.await(ROOT + " !== null && " + ROOT + ".textContent.includes('stopped at step')");
            browser.await(
                    "getComputedStyle(" + ROOT + ".querySelector('.card')).backgroundColor === 'rgb(24, 28, 35)'");
            assertThat(browser.errors()).isEmpty();
        } finally {
            System.clearProperty("spark.ui.enabled");
            System.clearProperty("spark.ui.port");
        }
    }

    private static void tooltip(HeadlessBrowser browser) throws InterruptedException {
        String box = ROOT + ".querySelector('#loss svg').getBoundingClientRect()";
        String tip = ROOT + ".querySelector('.tip:not([hidden])')";
        String text = "";
        // A refresh between two calls moves the chart or takes the tooltip away: then the mouse moves again.
        for (int i = 0; i < 50 && text.isEmpty(); i++) {
            browser.evaluate(ROOT + ".querySelector('#loss svg').scrollIntoView({block: 'center'})");
            double x = browser.evaluate(box + ".x + " + box + ".width / 2").asDouble();
            double y = browser.evaluate(box + ".y + " + box + ".height / 2").asDouble();
            browser.moveTo(x + i % 5, y);
            Thread.sleep(50);
            text = browser.evaluate(tip + " ? " + tip + ".textContent : ''").asText();
        }
        assertThat(text).contains("tokens").contains("training loss");
        browser.moveTo(1, 1);
    }

    private TrainResult train(SparkSession spark) {
        return TrainJob.run(
                TinyRun.tinyConfig(Map.of(
                        "parallel.world_size", "2",
                        "train.steps", "1000000",
                        "run.dir", folder.toString(),
                        "run.backend", "cpu",
                        "run.log_every", "1000000",
                        "run.checkpoint.every", "0",
                        "run.tensorboard", "false")),
                spark,
                "tokenizer",
                new SyntheticSetup(-1));
    }
}
