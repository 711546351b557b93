// Asks for a token, gets the document that it may see, and shows it. The token is in a variable of this page and nowhere
// else: not in the URL, not in a cookie, not in storage.
"use strict";

(() => {
  const form = document.getElementById("token-form");
  const field = document.getElementById("token");
  const said = document.getElementById("said");

  const say = (text, isWrong) => {
    said.textContent = text;
    said.classList.toggle("wrong", isWrong);
  };

  const show = (spec, token) => {
    // "Authorize" may name another token later; then that one is sent.
    const withToken = (request) => {
      const sent = Object.keys(request.headers).map((name) => name.toLowerCase());
      const isOurs = new URL(request.url, window.location.href).origin === window.location.origin;
      if (isOurs && !sent.some((name) => ["authorization", "x-api-key", "token"].includes(name))) {
        request.headers.Authorization = `Bearer ${token}`;
      }
      request.credentials = "omit";
      return request;
    };
    const ui = SwaggerUIBundle({
      spec,
      dom_id: "#ui",
      layout: "BaseLayout",
      presets: [SwaggerUIBundle.presets.apis],
      deepLinking: false,
      displayRequestDuration: true,
      persistAuthorization: false,
      queryConfigEnabled: false,
      validatorUrl: null,
      requestInterceptor: withToken,
      onComplete: () => ui.preauthorizeApiKey("bearer", token),
    });
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const token = field.value.trim();
    say("…", false);
    let answer;
    try {
      answer = await fetch("/api/openapi.json", {
        headers: { Authorization: `Bearer ${token}` },
        credentials: "omit",
        cache: "no-store",
      });
      const body = await answer.json();
      if (!answer.ok) {
        say([body.detail, body.hint].filter(Boolean).join("; "), true);
        return;
      }
      show(body, token);
      field.value = "";
      say("These are the endpoints of the token. Another token shows its own.", false);
    } catch {
      say("The server does not answer.", true);
    }
  });
})();
