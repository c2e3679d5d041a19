// SPDX-License-Identifier: BSD-2-Clause
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Hashtable;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.naming.directory.Attribute;
import javax.naming.directory.InitialDirContext;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * XEP-0114 over Java's own TLS, in which there is nothing to probe: SRV by JNDI's sockets, addresses by getaddrinfo. Prints a
 * line of JSON for each step, as the lab's own client does; System.nanoTime() is CLOCK_MONOTONIC.
 */
public class JsseClient {
	static final Map<String, String> options = new HashMap<>(
		Map.of("domain", "example.com", "id", "callbridge", "secret", "secret", "ca", "", "tls", "both", "stay", "0", "timeout", "10000"));

	interface Step<T> {
		T run() throws Exception;
	}

	static void say(String call, long begin, String result) {
		System.out.printf("{\"call\":\"%s\",\"begin\":%d,\"end\":%d,\"domain\":\"%s\",\"attempt\":1,\"pid\":%d,\"result\":\"%s\"}%n", call, begin,
				  System.nanoTime(), options.get("domain"), ProcessHandle.current().pid(), result);
		System.out.flush();
	}

	static <T> T timed(String call, Step<T> step) throws Exception {
		long begin = System.nanoTime();
		try {
			T value = step.run();
			say(call, begin, "ok");
			return value;
		} catch (Exception e) {
			say(call, begin, e instanceof XmppException ? e.getMessage() : e.getClass().getSimpleName());
			throw e;
		}
	}

	static class XmppException extends IOException {
		XmppException(String condition) {
			super(condition);
		}
	}

	/** "priority weight port target", the best first. */
	static String[] srv() throws Exception {
		Hashtable<String, String> env = new Hashtable<>();
		env.put("java.naming.factory.initial", "com.sun.jndi.dns.DnsContextFactory");
		Attribute records = new InitialDirContext(env)
			.getAttributes("dns:/_xmpp-component._tcp." + options.get("domain"), new String[] {"SRV"})
			.get("SRV");
		List<String[]> targets = new ArrayList<>();
		for (int i = 0; i < records.size(); i++)
			targets.add(records.get(i).toString().split(" "));
		targets.sort(Comparator.comparingInt(t -> Integer.parseInt(t[0])));
		return targets.get(0);
	}

	static Socket connect(InetAddress[] addresses, int port, int timeout) throws IOException {
		IOException last = null;
		for (InetAddress address : addresses) {
			Socket socket = new Socket();
			try {
				socket.setTcpNoDelay(true);
				socket.connect(new InetSocketAddress(address, port), timeout);
				socket.setSoTimeout(timeout);
				return socket;
			} catch (IOException e) {
				socket.close();
				last = e;
			}
		}
		throw last;
	}

	static SSLContext context() throws Exception {
		KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
		store.load(null, null);
		try (InputStream in = Files.newInputStream(Path.of(options.get("ca")))) {
			for (Certificate c : CertificateFactory.getInstance("X.509").generateCertificates(in))
				store.setCertificateEntry("ca" + store.size(), c);
		}
		TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
		trust.init(store);
		SSLContext context = SSLContext.getInstance("TLS");
		context.init(null, trust.getTrustManagers(), null);
		return context;
	}

	static SSLSocket secure(SSLContext context, Socket socket, String server, int port) throws IOException {
		SSLSocket ssl = (SSLSocket)context.getSocketFactory().createSocket(socket, server, port, true);
		SSLParameters parameters = ssl.getSSLParameters();
		parameters.setEndpointIdentificationAlgorithm("HTTPS");
		ssl.setSSLParameters(parameters);
		if (!options.get("tls").equals("both"))
			ssl.setEnabledProtocols(new String[] {"TLSv" + options.get("tls")});
		ssl.startHandshake();
		return ssl;
	}

	/** Reads until the pattern is there. */
	static Matcher await(InputStream in, StringBuilder text, String pattern) throws IOException {
		Pattern wanted = Pattern.compile(pattern), error = Pattern.compile("<stream:error><([a-z-]+)");
		byte[] buffer = new byte[4096];
		for (;;) {
			Matcher bad = error.matcher(text), good = wanted.matcher(text);
			if (bad.find())
				throw new XmppException(bad.group(1));
			if (good.find())
				return good;
			int n = in.read(buffer);
			if (n < 0)
				throw new XmppException("closed");
			text.append(new String(buffer, 0, n, StandardCharsets.UTF_8));
		}
	}

	static void write(OutputStream out, String text) throws IOException {
		out.write(text.getBytes(StandardCharsets.UTF_8));
		out.flush();
	}

	static Void register(SSLSocket ssl, String id) throws Exception {
		StringBuilder text = new StringBuilder();
		write(ssl.getOutputStream(),
		      "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='" + id + "'>");
		String stream = await(ssl.getInputStream(), text, "<stream:stream[^>]* id=['\"]([^'\"]*)['\"][^>]*>").group(1);
		byte[] digest = MessageDigest.getInstance("SHA-1").digest((stream + options.get("secret")).getBytes(StandardCharsets.UTF_8));
		StringBuilder hex = new StringBuilder();
		for (byte b : digest)
			hex.append(String.format("%02x", b));
		write(ssl.getOutputStream(), "<handshake>" + hex + "</handshake>");
		await(ssl.getInputStream(), text, "<handshake */>|<handshake></handshake>");
		return null;
	}

	static void stay(SSLSocket ssl) throws IOException {
		long deadline = System.nanoTime() + Long.parseLong(options.get("stay")) * 1000000L;
		byte[] buffer = new byte[4096];
		for (;;) {
			long left = (deadline - System.nanoTime()) / 1000000L;
			if (left <= 0)
				return;
			ssl.setSoTimeout((int)left);
			try {
				if (ssl.getInputStream().read(buffer) < 0)
					return;
			} catch (java.net.SocketTimeoutException e) {
				return;
			}
		}
	}

	static void run() throws Exception {
		String id = options.get("id").contains(".") ? options.get("id") : options.get("id") + "." + options.get("domain");
		int timeout = Integer.parseInt(options.get("timeout"));
		SSLContext context = context();
		String[] target = timed("srv", JsseClient::srv);
		String server = target[3].replaceAll("\\.$", "");
		int port = Integer.parseInt(target[2]);
		InetAddress[] addresses = timed("address", () -> InetAddress.getAllByName(server));
		Socket socket = timed("connect", () -> connect(addresses, port, timeout));
		try (SSLSocket ssl = timed("tls", () -> secure(context, socket, server, port))) {
			timed("register", () -> register(ssl, id));
			stay(ssl);
		}
	}

	public static void main(String[] args) {
		for (int i = 0; i + 1 < args.length; i += 2)
			options.put(args[i].replaceFirst("^--", ""), args[i + 1]);
		boolean ok = false;
		try {
			run();
			ok = true;
		} catch (Exception e) {
			System.err.println("JsseClient: " + e);
		}
		say("done", System.nanoTime(), ok ? "ok" : "failed");
		System.exit(ok ? 0 : 1);
	}
}
