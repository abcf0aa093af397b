const text = process.env.SAID;
const headers = { "content-type": "application/json", authorization: `Bearer ${process.env.OPENAI_API_KEY}` };
const ask = (more) =>
  fetch("https://api.openai.com/v1/chat/completions", {
    method: "POST",
    headers,
    body: JSON.stringify({ model: "gpt-4o-mini", messages: [{ role: "user", content: text }], ...more }),
  });

console.log("chat", (await (await ask({})).json()).choices[0].message.content);
let said = "";
for (const line of (await (await ask({ stream: true })).text()).split("\n")) {
  if (line.startsWith("data: {")) said += JSON.parse(line.slice(6)).choices[0]?.delta?.content ?? "";
}
console.log("chat stream", said);
const refused = await fetch("https://api.openai.com/v1/files", { headers });
console.log("refused", refused.status, (await refused.json()).error.rule, refused.headers.get("x-should-retry"));
