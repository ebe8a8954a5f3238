import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;

/** Sends a photograph in each way of both of Java's HTTP clients; prints a line for each: its name and the status. */
public class Client {
  static String url;
  static String key;
  // HTTP/2 where it can be had, which is its default: each request offers h2c.
  static final HttpClient CLIENT = HttpClient.newHttpClient();

  static HttpRequest.Builder request(String path) {
    return HttpRequest.newBuilder(URI.create(url + path)).header("Authorization", "Bearer " + key);
  }

  static void send(String way, HttpRequest.Builder request) throws Exception {
    // Twice: the connection must be fit for another request.
    for (int time = 0; time < 2; time++) {
      var answer = CLIENT.send(request.build(), BodyHandlers.ofString());
      System.out.println(way + " " + answer.statusCode());
    }
  }

  static byte[] form(byte[] photo, String boundary) throws Exception {
    var form = new ByteArrayOutputStream();
    form.write(("--" + boundary + "\r\nContent-Disposition: form-data; name=\"image\"; filename=\"photo.png\"\r\n"
        + "Content-Type: image/png\r\n\r\n").getBytes());
    form.write(photo);
    form.write(("\r\n--" + boundary + "--\r\n").getBytes());
    return form.toByteArray();
  }

  static void sendOld(byte[] json) throws Exception {
    var connection = (HttpURLConnection) new URL(url + "/v1/classify").openConnection();
    connection.setRequestMethod("POST");
    connection.setDoOutput(true);
    connection.setRequestProperty("Authorization", "Bearer " + key);
    connection.setRequestProperty("Content-Type", "application/json");
    connection.getOutputStream().write(json);
    System.out.println("old " + connection.getResponseCode());
  }

  public static void main(String[] arguments) throws Exception {
    url = arguments[0];
    key = arguments[1];
    byte[] photo = Files.readAllBytes(Path.of(arguments[2]));
    String base64 = Base64.getEncoder().encodeToString(photo);
    String mime = Base64.getMimeEncoder().encodeToString(photo).replace("\r\n", "\\r\\n");
    String json = "{\"image\": \"" + base64 + "\"}";
    var asJson = request("/v1/classify").header("Content-Type", "application/json");
    send("json", asJson.copy().POST(BodyPublishers.ofString(json)));
    send("mime", asJson.copy().POST(BodyPublishers.ofString("{\"image\": \"" + mime + "\"}")));
    send("chunked", asJson.copy().POST(BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(json.getBytes()))));
    send("leave", asJson.copy().expectContinue(true).POST(BodyPublishers.ofString(json)));
    send("file", request("/v2/classify").header("Content-Type", "image/png").POST(BodyPublishers.ofByteArray(photo)));
    send("form", request("/v2/classify").header("Content-Type", "multipart/form-data; boundary=x")
        .POST(BodyPublishers.ofByteArray(form(photo, "x"))));
    send("read", request("/v1/usage").GET());
    send("nothing", request("/nothing").DELETE());
    send("stranger", HttpRequest.newBuilder(URI.create(url + "/v1/classify")).POST(BodyPublishers.ofString(json)));
    var together = new ArrayList<java.util.concurrent.CompletableFuture<Integer>>();
    for (int number = 0; number < 16; number++) {
      together.add(CLIENT.sendAsync(asJson.copy().POST(BodyPublishers.ofString(json)).build(), BodyHandlers.ofString())
          .thenApply(answer -> answer.statusCode()));
    }
    for (var one : together) {
      System.out.println("together " + one.get());
    }
    sendOld(json.getBytes());
  }
}
