// Calls the API with .NET's HttpClient: Client.exe URL KEY PHOTO. Prints each way of sending, and the status it got.
using System;
using System.IO;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Threading.Tasks;

static class Client
{
    static readonly HttpClient http = new HttpClient();

    static async Task Tell(string way, HttpRequestMessage request)
    {
        using (var answer = await http.SendAsync(request))
        {
            await answer.Content.ReadAsByteArrayAsync();
            Console.WriteLine(way + " " + (int)answer.StatusCode);
        }
    }

    static HttpRequestMessage Post(string url, HttpContent content, bool waitsForLeave = false)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, url) { Content = content };
        request.Headers.ExpectContinue = waitsForLeave;
        return request;
    }

    static ByteArrayContent File(byte[] photo)
    {
        var content = new ByteArrayContent(photo);
        content.Headers.ContentType = new MediaTypeHeaderValue("image/png");
        return content;
    }

    static async Task Run(string url, string key, byte[] photo)
    {
        var inBase64 = Convert.ToBase64String(photo);
        var json = "{\"image\": \"" + inBase64 + "\"}";
        var lines = "{\"image\": \"" +
            Convert.ToBase64String(photo, Base64FormattingOptions.InsertLineBreaks).Replace("\r\n", "\\r\\n") + "\"}";

        await Tell("stranger", Post(url + "/v2/classify", File(photo)));
        http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        await Tell("json", Post(url + "/v1/classify", new StringContent(json, Encoding.UTF8, "application/json")));
        await Tell("json, with lines", Post(url + "/v1/classify", new StringContent(lines, Encoding.UTF8, "application/json")));
        await Tell("file", Post(url + "/v2/classify", File(photo)));
        await Tell("leave", Post(url + "/v2/classify", File(photo), true));
        var stream = new StreamContent(new MemoryStream(photo));
        stream.Headers.ContentType = new MediaTypeHeaderValue("image/png");
        var chunked = Post(url + "/v2/classify", stream);
        chunked.Headers.TransferEncodingChunked = true;
        await Tell("chunked", chunked);
        await Tell("form", Post(url + "/v2/classify", new MultipartFormDataContent { { File(photo), "image", "photo é.png" } }));
        await Tell("form, without a name", Post(url + "/v2/classify", new MultipartFormDataContent { { File(photo), "image" } }));
        await Tell("form, of base64", Post(url + "/v2/classify",
            new MultipartFormDataContent { { new StringContent(inBase64), "image" }, { new StringContent("2"), "top_k" } }));
        await Tell("form, of several", Post(url + "/v2/classify/batch",
            new MultipartFormDataContent { { File(photo), "image", "a.png" }, { File(photo), "image", "b.png" } }));
        await Tell("nothing", new HttpRequestMessage(HttpMethod.Delete, url + "/nothing"));
        await Tell("read", new HttpRequestMessage(HttpMethod.Get, url + "/v1/usage"));
    }

    static void Main(string[] arguments)
    {
        Run(arguments[0], arguments[1], System.IO.File.ReadAllBytes(arguments[2])).Wait();
    }
}
