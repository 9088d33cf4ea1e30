/** The page: which part of it the address names, and the key where one is asked for. */
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { New } from "./new.tsx";
import { Notice } from "./parts.tsx";
import { Pipelines, PipelineView } from "./pipelines.tsx";
import { Run } from "./run.tsx";
import { Runs } from "./runs.tsx";
import { KeyNeeded, service, setKey } from "./service.ts";
import { Studies, StudyView } from "./studies.tsx";

function useAddress(): string {
  const [address, setAddress] = useState(location.hash);
  useEffect(() => {
    const changed = () => setAddress(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return address;
}

function KeyForm({ done }: { done: () => void }) {
  const [key, set] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    setKey(key.trim());
    done();
  };
  return (
    <main>
      <h1>This service asks for a key</h1>
      <form class="bar" onSubmit={submit}>
        <label>
          Key, as <code>mocod keys create</code> printed it
          <input type="password" size={60} value={key} onInput={(e) => set(e.currentTarget.value)} />
        </label>
        <button type="submit">Use it</button>
      </form>
    </main>
  );
}

function Part({ part, id, search }: { part: string; id: string | undefined; search: string }) {
  if (part === "runs" && id) return <Run key={id} id={id} />;
  if (part === "pipelines") return id ? <PipelineView key={id} id={id} /> : <Pipelines />;
  if (part === "studies") return id ? <StudyView key={id} id={id} /> : <Studies />;
  if (part === "new") return <New key={search} query={new URLSearchParams(search)} />;
  return <Runs />;
}

function Page() {
  const address = useAddress();
  const [access, setAccess] = useState<"unknown" | "granted" | "asked" | Error>("unknown");
  const [tries, setTries] = useState(0);
  useEffect(() => {
    service.workers().then(
      () => setAccess("granted"),
      (error: Error) => setAccess(error instanceof KeyNeeded ? "asked" : error),
    );
  }, [tries]);
  const [, part = "runs", id, search = ""] = address.match(/^#\/(\w+)(?:\/(\w+))?(?:\?(.*))?$/) ?? [];
  return (
    <>
      <header>
        <a href="#/">mocod</a>
        <nav aria-label="parts">
          <a href="#/">Runs</a> · <a href="#/pipelines">Pipelines</a> · <a href="#/studies">Studies</a> ·{" "}
          <a href="#/new">New job</a> · <a href="/docs">API</a> · <a href="/queues">Queues</a>
        </nav>
      </header>
      {access === "asked" && <KeyForm done={() => setTries(tries + 1)} />}
      {access instanceof Error && (
        <main>
          <Notice bad>{access.message}</Notice>
        </main>
      )}
      {access === "granted" && <Part part={part} id={id} search={search} />}
    </>
  );
}

render(<Page />, document.getElementById("page") as HTMLElement);
