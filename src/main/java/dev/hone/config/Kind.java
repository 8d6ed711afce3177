package dev.hone.config;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/**
 * The type and range of a key's value.
 *
 * @param <T> what a value becomes
 */
abstract class Kind<T> {
  /** The value, or empty when it is not of this kind. */
  abstract Optional<T> parse(Value value);

  /** What is wanted, in words that follow "want". */
  abstract String want();

  static Kind<Boolean> flag() {
    return new Kind<>() {
      @Override
      Optional<Boolean> parse(Value value) {
        return scalar(value).flatMap(text -> switch (text.toLowerCase(Locale.ROOT)) {
          case "true", "yes", "on" -> Optional.of(true);
          case "false", "no", "off" -> Optional.of(false);
          default -> Optional.empty();
        });
      }

      @Override
      String want() {
        return "true or false";
      }
    };
  }

  /** An integer of at least {@code least}. */
  static Kind<Integer> whole(int least) {
    return new Kind<>() {
      @Override
      Optional<Integer> parse(Value value) {
        try {
          return scalar(value).map(Integer::valueOf).filter(i -> i >= least);
        } catch (NumberFormatException e) {
          return Optional.empty();
        }
      }

      @Override
      String want() {
        return "an integer of at least " + least;
      }
    };
  }

  /** A number within [least, most]. */
  static Kind<Double> number(double least, double most) {
    return number(least, most, true, most == Double.MAX_VALUE ? "a number of at least " + plain(least)
        : "a number from " + plain(least) + " to " + plain(most));
  }

  /** A number within [0, 1). */
  static Kind<Double> fraction() {
    return number(0, Math.nextDown(1.0), true, "a number from 0 to below 1");
  }

  /** A number above 0. */
  static Kind<Double> positive() {
    return number(0, Double.MAX_VALUE, false, "a number above 0");
  }

  private static Kind<Double> number(double least, double most, boolean inclusive, String words) {
    return new Kind<>() {
      @Override
      Optional<Double> parse(Value value) {
        try {
          return scalar(value)
              .filter(text -> !text.matches(".*[fFdDxX]"))
              .map(Double::valueOf)
              .filter(d -> (inclusive ? d >= least : d > least) && d <= most);
        } catch (NumberFormatException e) {
          return Optional.empty();
        }
      }

      @Override
      String want() {
        return words;
      }
    };
  }

  static Kind<String> text() {
    return new Kind<>() {
      @Override
      Optional<String> parse(Value value) {
        return scalar(value);
      }

      @Override
      String want() {
        return "a text";
      }
    };
  }

  /** A YAML list, or a text with commas. */
  static Kind<List<String>> list() {
    return new Kind<>() {
      @Override
      Optional<List<String>> parse(Value value) {
        List<String> found = new ArrayList<>();
        switch (value) {
          case Value.Nested n -> {
            return Optional.empty();
          }
          case Value.Items items -> items.texts().forEach(t -> found.add(t.strip()));
          case Value.Scalar s -> {
            for (String part : s.text().split(",")) {
              found.add(part.strip());
            }
          }
        }
        found.removeIf(String::isEmpty);
        return found.isEmpty() ? Optional.empty() : Optional.of(List.copyOf(found));
      }

      @Override
      String want() {
        return "a name or a list of names";
      }
    };
  }

  /** One of a few words, upper and lower case alike. */
  static Kind<String> choice(String... words) {
    List<String> all = List.of(words);
    return new Kind<>() {
      @Override
      Optional<String> parse(Value value) {
        return scalar(value).flatMap(text -> all.stream().filter(text::equalsIgnoreCase).findFirst());
      }

      @Override
      String want() {
        return all.size() == 1 ? all.getFirst()
            : String.join(", ", all.subList(0, all.size() - 1)) + " or " + all.getLast();
      }
    };
  }

  /** Bytes: a number, or one with KB, MB, GB or TB (KiB .. TiB mean the same: powers of 1024, as graphics cards are labelled). */
  static Kind<Long> size() {
    return new Kind<>() {
      @Override
      Optional<Long> parse(Value value) {
        return scalar(value).flatMap(Sizes::parse);
      }

      @Override
      String want() {
        return "a size such as 6GB";
      }
    };
  }

  /** A place to compute. */
  static Kind<DeviceChoice> device() {
    return new Kind<>() {
      @Override
      Optional<DeviceChoice> parse(Value value) {
        return scalar(value).flatMap(DeviceChoice::parse);
      }

      @Override
      String want() {
        return DeviceChoice.WANT;
      }
    };
  }

  /** Anything: for keys whose value is not used. */
  static Kind<String> anything() {
    return new Kind<>() {
      @Override
      Optional<String> parse(Value value) {
        return Optional.of(value.toString());
      }

      @Override
      String want() {
        return "anything";
      }
    };
  }

  private static Optional<String> scalar(Value value) {
    return value instanceof Value.Scalar s ? Optional.of(s.text().strip()) : Optional.empty();
  }

  private static String plain(double d) {
    return d == Math.rint(d) && Math.abs(d) < 1e15 ? Long.toString((long) d) : Double.toString(d);
  }
}
