// Starts `cwm debug --dap` for each debug session, or connects to the port that launch.json names.
const vscode = require('vscode');

class AdapterFactory {
  createDebugAdapterDescriptor(session) {
    if (session.configuration.port) {
      return new vscode.DebugAdapterServer(session.configuration.port, '127.0.0.1');
    }
    const command = vscode.workspace.getConfiguration('cwm').get('path', 'cwm');
    return new vscode.DebugAdapterExecutable(command, ['debug', '--dap']);
  }
}

exports.activate = (context) => {
  context.subscriptions.push(vscode.debug.registerDebugAdapterDescriptorFactory('cwm', new AdapterFactory()));
};
exports.deactivate = () => {};
