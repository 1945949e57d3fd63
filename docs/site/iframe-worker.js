/* Browsers start no worker for a page that is opened from a folder. The search runs in a frame then. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.body.appendChild(document.createElement("iframe"));
      frame.hidden = true;
      this.inner = frame.contentWindow;
      this.inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.inner.importScripts = () => Promise.resolve();
      const script = this.inner.document.createElement("script");
      script.src = url;
      this.started = new Promise((resolve) => { script.onload = resolve; });
      this.inner.document.body.appendChild(script);
    }

    postMessage(data) {
      this.started.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {}
  };
}
