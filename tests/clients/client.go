// Sends a photograph in each way of Go's net/http; prints a line for each: its name and the status.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
)

var url, key string

func send(way, method, path, kind string, body io.Reader, headers ...string) {
	request, err := http.NewRequest(method, url+path, body)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	for number := 0; number < len(headers); number += 2 {
		request.Header.Set(headers[number], headers[number+1])
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	fmt.Println(way, answer.StatusCode)
}

func main() {
	url, key = os.Args[1], os.Args[2]
	photo, err := os.ReadFile(os.Args[3])
	if err != nil {
		panic(err)
	}
	made, _ := json.Marshal(map[string]string{"image": base64.StdEncoding.EncodeToString(photo)})
	raw, _ := json.Marshal(map[string]string{"image": base64.RawURLEncoding.EncodeToString(photo)})
	send("json", "POST", "/v1/classify", "application/json", bytes.NewReader(made))
	send("url-safe", "POST", "/v1/classify", "application/json", bytes.NewReader(raw))
	// A reader whose length Go does not know.
	send("chunked", "POST", "/v1/classify", "application/json", io.MultiReader(bytes.NewReader(made)))
	send("leave", "POST", "/v1/classify", "application/json", bytes.NewReader(made), "Expect", "100-continue")
	send("file", "POST", "/v2/classify", "image/png", bytes.NewReader(photo))
	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	part, _ := writer.CreateFormFile("image", "photo.png")
	part.Write(photo)
	writer.WriteField("top_k", "2")
	writer.Close()
	send("form", "POST", "/v2/classify", writer.FormDataContentType(), &form)
	send("read", "GET", "/v1/usage", "", nil)
	send("nothing", "DELETE", "/nothing", "", nil)
	send("stranger", "POST", "/v1/classify", "application/json", strings.NewReader(string(made)), "Authorization", "")
}
