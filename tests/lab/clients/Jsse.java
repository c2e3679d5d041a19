// SPDX-License-Identifier: BSD-2-Clause
// java Jsse.java TRUST.p12 DOMAIN COMPONENT SECRET STAY_MS: the same steps as tests/lab/client.c with JSSE, into which
// cbtrace does not look. Prints one JSON line for each step, times in ns of CLOCK_MONOTONIC.
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.util.Hashtable;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.naming.directory.InitialDirContext;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

class Jsse {
    static void said(String call, long begin) {
        System.out.printf("{\"call\":\"%s\",\"begin\":%d,\"end\":%d,\"result\":\"ok\"}%n", call, begin, System.nanoTime());
        System.out.flush();
    }

    static String readUntil(InputStream in, Pattern wanted) throws Exception {
        StringBuilder text = new StringBuilder();
        byte[] buffer = new byte[4096];
        while (!wanted.matcher(text).find()) {
            int n = in.read(buffer);
            if (n < 0) throw new Exception("closed");
            text.append(new String(buffer, 0, n, StandardCharsets.UTF_8));
        }
        return text.toString();
    }

    static SSLContext context(String trust) throws Exception {
        KeyStore store = KeyStore.getInstance(new java.io.File(trust), "secret".toCharArray());
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, factory.getTrustManagers(), null);
        return context;
    }

    public static void main(String[] args) throws Exception {
        SSLContext context = context(args[0]);
        long begin = System.nanoTime();
        Hashtable<String, String> env = new Hashtable<>();
        env.put("java.naming.factory.initial", "com.sun.jndi.dns.DnsContextFactory");
        String record = (String) new InitialDirContext(env).getAttributes("_xmpp-component._tcp." + args[1], new String[] {"SRV"}).get("SRV").get();
        String[] field = record.split(" ");
        said("srv", begin);
        begin = System.nanoTime();
        java.net.Socket tcp = new java.net.Socket(field[3].replaceAll("\\.$", ""), Integer.parseInt(field[2]));
        said("connect", begin);
        begin = System.nanoTime();
        SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(tcp, field[3].replaceAll("\\.$", ""), tcp.getPort(), true);
        socket.startHandshake();
        said("tls", begin);
        begin = System.nanoTime();
        OutputStream out = socket.getOutputStream();
        out.write(("<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='" + args[2] + "'>").getBytes());
        Pattern id = Pattern.compile(" id=['\"]([^'\"]*)['\"][^>]*>");
        Matcher matcher = id.matcher(readUntil(socket.getInputStream(), id));
        matcher.find();
        StringBuilder digest = new StringBuilder();
        for (byte b : MessageDigest.getInstance("SHA-1").digest((matcher.group(1) + args[3]).getBytes())) digest.append(String.format("%02x", b));
        out.write(("<handshake>" + digest + "</handshake>").getBytes());
        readUntil(socket.getInputStream(), Pattern.compile("<handshake"));
        said("register", begin);
        Thread.sleep(Long.parseLong(args[4]));
        socket.close();
    }
}
