package dev.hone.train;

import dev.hone.format.AtomicFiles;
import java.nio.channels.Channels;
import java.nio.file.Path;
import java.util.List;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.BitmapEncoder.BitmapFormat;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** training_loss.png: the logged losses, a smoothed line through them, and the evaluation losses where there are any. */
final class LossPlot {
  /** Weight of the past in the smoothed line. */
  private static final double SMOOTHING = 0.9;

  private LossPlot() {}

  /** One point of a line. */
  record Point(int step, double loss) {}

  static void write(Path png, List<Point> training, List<Point> evaluation) {
    System.setProperty("java.awt.headless", "true");
    XYChart chart =
        new XYChartBuilder().width(960).height(540).title("Training loss").xAxisTitle("step").yAxisTitle("loss").build();
    chart.getStyler().setLegendPosition(Styler.LegendPosition.InsideNE);
    chart.getStyler().setChartBackgroundColor(java.awt.Color.WHITE);
    chart.getStyler().setDefaultSeriesRenderStyle(XYSeries.XYSeriesRenderStyle.Line);
    line(chart, "loss", training, new java.awt.Color(0xb0, 0xc4, 0xde), 1.2f);
    line(chart, "smoothed", smoothed(training), new java.awt.Color(0x1f, 0x5f, 0xa8), 2.2f);
    if (!evaluation.isEmpty()) {
      line(chart, "eval loss", evaluation, new java.awt.Color(0xd0, 0x6a, 0x1f), 2.2f);
    }
    AtomicFiles.write(png, out -> BitmapEncoder.saveBitmap(chart, Channels.newOutputStream(out), BitmapFormat.PNG));
  }

  private static void line(XYChart chart, String name, List<Point> points, java.awt.Color colour, float width) {
    double[] x = points.stream().mapToDouble(Point::step).toArray();
    double[] y = points.stream().mapToDouble(Point::loss).toArray();
    XYSeries series = chart.addSeries(name, x, y);
    series.setMarker(points.size() == 1 ? SeriesMarkers.CIRCLE : SeriesMarkers.NONE);
    series.setLineColor(colour);
    series.setMarkerColor(colour);
    series.setLineStyle(new java.awt.BasicStroke(width));
  }

  /** Exponential moving average with the bias of its start taken out, as Adam's. */
  static List<Point> smoothed(List<Point> points) {
    double average = 0;
    double weight = 0;
    List<Point> line = new java.util.ArrayList<>();
    for (Point point : points) {
      average = SMOOTHING * average + (1 - SMOOTHING) * point.loss();
      weight = SMOOTHING * weight + (1 - SMOOTHING);
      line.add(new Point(point.step(), average / weight));
    }
    return line;
  }
}
