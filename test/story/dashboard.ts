/** Shiny, as a user of its own, serves a CSV of the mount to a browser and watches it, as `reactiveFileReader` does each second. */
import type { Test } from 'tap';
import { PYTHON, type Running, type Scene } from './scene.ts';

const PORT = 3838;

const APP = `
library(shiny)
path <- commandArgs(TRUE)[1]
server <- function(input, output, session) {
  sales <- reactiveFileReader(1000, session, path, read.csv)
  output$sum <- renderText(paste("rows", nrow(sales()), "sum", sum(sales()$amount)))
}
runApp(shinyApp(fluidPage(textOutput("sum")), server), port = ${PORT}, launch.browser = FALSE)
`;

/** What a browser does after it has the page: a WebSocket, on which the server says what changes. Prints that, with its time. */
const BROWSER = `
import asyncio, json, sys, time
from tornado.websocket import websocket_connect
async def main():
    socket = await websocket_connect('ws://127.0.0.1:${PORT}/websocket/')
    while True:
        message = json.loads(await socket.read_message())
        if 'config' in message:
            await socket.write_message(json.dumps({'method': 'init', 'data': {'.clientdata_output_sum_hidden': False}}))
        if message.get('errors'): print('error', message['errors'], flush=True)
        if 'sum' in message.get('values', {}): print(message['values']['sum'], flush=True)
asyncio.run(main())
`;

/** ms after which a change must be on the screen: what the mount keeps for 10 s, one second of polling, and some for a busy machine. */
const BY_OTHERS = 20_000;
const BY_THE_MOUNT = 8_000;

export const dashboard = {
  async 'Shiny, another user, serves a CSV that changes'(t: Test, scene: Scene): Promise<void> {
    const { rstudio, shiny } = scene;
    rstudio.shell('mkdir works/dash; printf "day,amount\\n1,10\\n" > works/dash/sales.csv');
    const app: Running = shiny.start(t, 'Rscript', ['-e', APP, scene.path('dash/sales.csv')]);
    await app.says(/Listening on/);
    const browser = shiny.start(t, PYTHON, ['-c', BROWSER]);
    await browser.says(/^rows 1 sum 10$/m);
    const since = async (what: RegExp, limit: number): Promise<number> => {
      const begin = Date.now();
      await browser.says(what, limit);
      return Date.now() - begin;
    };
    rstudio.shell('echo 2,20 >> works/dash/sales.csv');
    t.comment(`appended on the mount: seen after ${await since(/^rows 2 sum 30$/m, BY_THE_MOUNT)} ms`);
    rstudio.shell('printf "day,amount\\n1,1\\n2,2\\n3,3\\n" > works/dash/new; mv works/dash/new works/dash/sales.csv');
    t.comment(`renamed over: seen after ${await since(/^rows 3 sum 6$/m, BY_THE_MOUNT)} ms`);
    await scene.client.put('dash/sales.csv', 'day,amount\n1,100\n2,200\n3,300\n4,400\n');
    t.comment(`put by the S3 API: seen after ${await since(/^rows 4 sum 1000$/m, BY_OTHERS)} ms`);
    t.notMatch(browser.said(), /error/, 'nobody saw half a file');
    t.throws(
      () => shiny.shell('echo x >> "$1"', scene.path('dash/sales.csv')),
      /Permission denied/,
      'Shiny only reads',
    );
    const idle = await scene.s3.during(() => new Promise(resolve => setTimeout(resolve, 2000)));
    t.comment(`two seconds of watching: ${JSON.stringify(idle)}`);
  },
};
